//! What beside guards decides whether files serve: approvals that lie with them, an operator's override, and that they were
//! taken back before.

use serde::Serialize;

use crate::approval_files::Approved;
use crate::break_glass_file;
use crate::config::guard::Guards;
use crate::config::plan::{Plan, Verdict};
use crate::config::{Boot, Config};
use crate::reload::restores;
use crate::rolled_back::Memory;
use crate::start::{self, Given};

/// What there is of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Standing {
    /// Who lets through what guards refuse: enough of them.
    approved_by: Vec<String>,
    /// The override that lets it through.
    restored: Option<String>,
    /// Why approvals do not lift what guards refuse, a line each.
    not_approved: Vec<String>,
    /// The override that keeps what serves.
    kept: Option<String>,
    /// Why these files were taken back, where they were.
    rolled_back: Vec<String>,
    /// How the plan ends with all of it: what the exit code says.
    ends: &'static str,
}

impl Standing {
    /// By the folder of the files and, unless two folders are compared, by the state folder.
    pub fn find(
        given: &Given,
        (boot, before): (&Boot, &Guards),
        config: &Config,
        plan: &Plan,
        has_state: bool,
        now: i64,
    ) -> Self {
        let mut standing = Self::default();
        if plan.verdict() == Verdict::Refused {
            match start::approve(given, (boot, before), config, plan, now) {
                Ok(approved) => standing.approved_by = Approved::each(&approved),
                Err(missing) => standing.not_approved = missing,
            }
        }
        if has_state && plan.verdict() != Verdict::Nothing {
            let asked = break_glass_file::load(&boot.state_dir);
            let restores = || restores(&given.place, &boot.state_dir, &config.hash, now);
            let restored = asked.as_ref().filter(|asked| asked.restores(now) && restores());
            let restored = restored.filter(|asked| asked.lifts(plan, true, now).is_ok());
            standing.restored = restored.map(ToString::to_string);
            standing.kept = asked.filter(|asked| asked.keeps(now)).map(|asked| asked.to_string());
            let memory = Memory::load(&boot.state_dir);
            let rolled_back = memory.find(&config.hash).filter(|_| standing.restored.is_none());
            standing.rolled_back = rolled_back.map(|one| one.reasons.clone()).unwrap_or_default();
        }
        standing.ends = standing.ends(plan.verdict()).as_str();
        standing
    }

    /// How the plan ends with all of it.
    pub fn ends(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Nothing => Verdict::Nothing,
            _ if self.kept.is_some() || !self.rolled_back.is_empty() => Verdict::Refused,
            Verdict::Refused if !self.approved_by.is_empty() || self.restored.is_some() => Verdict::Changes,
            other => other,
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.approved_by.is_empty() {
            lines.push(format!(
                "Approved by {}, which lifts what guards refuse.",
                self.approved_by.join(", ")
            ));
        }
        if let Some(restored) = &self.restored {
            lines.push(format!("It is restored, whatever guards refuse: {restored}"));
        }
        lines.extend(self.not_approved.iter().map(|why| format!("Not approved: {why}")));
        if let Some(kept) = &self.kept {
            lines.push(format!("It would be REFUSED until that is over: {kept}"));
        }
        if let Some((first, rest)) = self.rolled_back.split_first() {
            lines.push(format!("It would be REFUSED, for it was tried and rolled back: {first}"));
            lines.extend(rest.iter().map(|reason| format!("  {reason}")));
            lines.push("  POST /reload with {\"again\": true} tries it again.".to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_what_a_reload_would_come_to() {
        use Verdict::{Changes, Nothing, Refused};
        let said = |text: &str| vec![text.to_owned()];
        let approved = Standing { approved_by: said("ann"), ..Standing::default() };
        let kept = Standing { kept: Some("override".to_owned()), ..Standing::default() };
        let both =
            Standing { kept: Some("override".to_owned()), approved_by: said("ann"), ..Standing::default() };
        let restored = Standing { restored: Some("override".to_owned()), ..Standing::default() };
        let rolled_back = Standing { rolled_back: said("cell-1 fails"), ..Standing::default() };
        for (standing, ends) in [
            (Standing::default(), [Nothing, Changes, Refused]),
            (approved, [Nothing, Changes, Changes]),
            (kept, [Nothing, Refused, Refused]),
            (both, [Nothing, Refused, Refused]),
            (restored, [Nothing, Changes, Changes]),
            (rolled_back, [Nothing, Refused, Refused]),
        ] {
            assert_eq!(
                [Nothing, Changes, Refused].map(|verdict| standing.ends(verdict)),
                ends,
                "{standing:?}"
            );
        }
    }
}
