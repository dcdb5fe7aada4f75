//! What there is to tell other programs of accounts: who has something to change, who came back, and who can be cut. Values that
//! say nothing new have the same id in each run, so that whoever hears it twice does not act twice.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::verdict::{Reason, Verdict};

use super::fleet::{Fleet, FleetAccount};
use super::json::IntegrationView;
use super::render::rfc3339;

/// Integrations in one event, so that it stays below the 20 kB that receivers are asked to take; the letter and the page have
/// the rest.
const INTEGRATIONS: usize = 25;

/// Hexadecimal digits of an id: no two of a billion are the same.
const ID_DIGITS: usize = 32;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Its owner has something to change.
    Outreach,
    /// It could have been cut, and came back.
    Returned,
    /// It can be cut.
    Ready,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What has happened.
    pub kind: EventKind,
    /// To whom.
    pub account: u64,
    /// The same where there is nothing new to say.
    pub id: String,
    /// JSON with `type`, `timestamp` and `data`.
    pub body: String,
}

impl EventKind {
    /// Its `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outreach => "account.outreach",
            Self::Returned => "account.returned",
            Self::Ready => "account.ready",
        }
    }
}

/// All events of a fleet, those of the accounts that matter most first; one at a time, for a hundred thousand are not to be in
/// memory together.
pub fn events(fleet: &Fleet) -> impl Iterator<Item = Event> {
    let accounts = fleet.by_weight().into_iter();
    accounts.flat_map(|account| kinds(account).into_iter().map(|kind| event(fleet, account, kind)))
}

fn kinds(account: &FleetAccount) -> Vec<EventKind> {
    match account.judged.verdict {
        Verdict::Returned => vec![EventKind::Outreach, EventKind::Returned],
        Verdict::Active | Verdict::Fading | Verdict::Quiet | Verdict::Unknown => vec![EventKind::Outreach],
        Verdict::Ready => vec![EventKind::Ready],
        // Has nothing to change before it has moved.
        Verdict::NotMigrated | Verdict::Cut => Vec::new(),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    account: u64,
    prefix: Option<&'a str>,
    address: Option<&'a str>,
    verdict: &'static str,
    reasons: Vec<String>,
    ready_at: Option<String>,
    hosts: &'a [String],
    deprecated_since: Option<String>,
    sunset_at: Option<String>,
    requests_30d: u64,
    last_seen: String,
    integrations: Vec<IntegrationView<'a>>,
    integrations_left_out: usize,
}

fn event(fleet: &Fleet, account: &FleetAccount, kind: EventKind) -> Event {
    let judged = &account.judged;
    let details = if kind == EventKind::Ready { &[] } else { &account.details[..] };
    let body = Body {
        kind: kind.as_str(),
        timestamp: rfc3339(fleet.generated_at),
        data: Data {
            account: account.account,
            prefix: account.prefix.as_deref(),
            address: account.address.as_deref(),
            verdict: judged.verdict.as_str(),
            reasons: judged.reasons.iter().map(ToString::to_string).collect(),
            ready_at: judged.ready_at.map(rfc3339),
            hosts: &fleet.hosts,
            deprecated_since: fleet.deprecated_since.map(rfc3339),
            sunset_at: fleet.sunset_at.map(rfc3339),
            requests_30d: account.requests.month,
            last_seen: rfc3339(account.last_seen),
            integrations: details.iter().take(INTEGRATIONS).map(IntegrationView::from).collect(),
            integrations_left_out: details.len().saturating_sub(INTEGRATIONS),
        },
    };
    let body = serde_json::to_string(&body).expect("texts and numbers are JSON");
    Event { kind, account: account.account, id: id(fleet, account, kind), body }
}

/// Of what somebody would act on, and of nothing that is different in each run.
fn id(fleet: &Fleet, account: &FleetAccount, kind: EventKind) -> String {
    let mut said = format!("{}\n{}\n", kind.as_str(), account.account);
    match kind {
        EventKind::Outreach => {
            let _ = writeln!(said, "{} {:?}", account.judged.verdict.as_str(), account.address);
            let _ = writeln!(said, "{:?} {:?}", fleet.hosts, fleet.sunset_at);
            // Not the network: that of a program that moves each night is no news.
            let mut programs: Vec<String> = account
                .details
                .iter()
                .map(|one| format!("{:?} {:?} {:?}", one.client, one.credential, one.recipe))
                .collect();
            programs.sort_unstable();
            programs.dedup();
            said.push_str(&programs.join("\n"));
        }
        EventKind::Returned => {
            let _ = write!(said, "{}", returned_on(fleet, account));
        }
        // Since then it has not come.
        EventKind::Ready => {
            let _ = write!(said, "{}", account.last_seen);
        }
    }
    let hash = digest(&SHA256, said.as_bytes());
    let mut id = "evt_".to_owned();
    hash.as_ref().iter().take(ID_DIGITS / 2).for_each(|byte| {
        let _ = write!(id, "{byte:02x}");
    });
    id
}

/// The day on which it came back.
fn returned_on(fleet: &Fleet, account: &FleetAccount) -> i64 {
    let days_ago = account.judged.reasons.iter().find_map(|reason| match reason {
        Reason::Returned { days_ago, .. } => Some(*days_ago),
        _ => None,
    });
    fleet.generated_at.div_euclid(DAY) - days_ago.unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::made_up::made_up;
    use super::*;

    /// Events of one account of this verdict, after a change.
    fn of(verdict: Verdict, change: &dyn Fn(&mut Fleet)) -> Vec<Event> {
        let mut fleet = made_up(200);
        fleet.accounts.retain(|of| of.judged.verdict == verdict && of.details.len() > 1);
        fleet.accounts.truncate(1);
        change(&mut fleet);
        events(&fleet).collect()
    }

    #[test]
    fn each_account_has_what_its_verdict_wants() {
        for (verdict, expect) in [
            (Verdict::Active, &["account.outreach"][..]),
            (Verdict::Fading, &["account.outreach"]),
            (Verdict::Quiet, &["account.outreach"]),
            (Verdict::Returned, &["account.outreach", "account.returned"]),
            (Verdict::Ready, &["account.ready"]),
            (Verdict::Cut, &[]),
            (Verdict::NotMigrated, &[]),
        ] {
            let kinds: Vec<_> = of(verdict, &|_| {}).iter().map(|event| event.kind.as_str()).collect();
            assert_eq!(kinds, expect, "{verdict:?}");
        }
        let event = of(Verdict::Active, &|_| {}).remove(0);
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        assert_eq!(
            (&body["type"], &body["timestamp"]),
            (&"account.outreach".into(), &"2026-11-20T10:00:00Z".into())
        );
        assert_eq!(
            (&body["data"]["account"], &body["data"]["verdict"]),
            (&event.account.into(), &"ACTIVE".into())
        );
        assert!(
            body["data"]["integrations"][0]["credential"].is_string()
                || body["data"]["integrations"][1].is_object()
        );
        assert!(body["data"].get("cell").is_none(), "nothing of cells leaves");
    }

    #[test]
    fn the_same_said_again_has_the_same_id_and_news_has_another() {
        let id = |verdict, change: &dyn Fn(&mut Fleet)| of(verdict, change).pop().unwrap().id;
        let first = id(Verdict::Active, &|_| {});
        assert!(first.len() == 4 + ID_DIGITS && first.starts_with("evt_"), "{first}");
        let later = |fleet: &mut Fleet| {
            fleet.generated_at += 3_600;
            fleet.accounts[0].last_seen += 3_000;
            fleet.accounts[0].requests.month += 7;
            fleet.accounts[0].details[0].network = Some("192.0.2.0/24".into());
            fleet.accounts[0].details.reverse();
        };
        assert_eq!(id(Verdict::Active, &later), first);
        let news: [&dyn Fn(&mut Fleet); 5] = [
            &|fleet| fleet.sunset_at = fleet.sunset_at.map(|at| at + 86_400),
            &|fleet| fleet.accounts[0].account += 1,
            &|fleet| fleet.accounts[0].judged.verdict = Verdict::Fading,
            &|fleet| fleet.accounts[0].details[0].credential = Some("k1:000000000001".into()),
            &|fleet| fleet.accounts[0].details[0].client.push('x'),
        ];
        let ids: BTreeSet<String> =
            news.iter().map(|news| id(Verdict::Active, *news)).chain([first]).collect();
        assert_eq!(ids.len(), news.len() + 1);

        let returned = id(Verdict::Returned, &|_| {});
        let a_day_later = |fleet: &mut Fleet| {
            fleet.generated_at += 86_400;
            for reason in &mut fleet.accounts[0].judged.reasons {
                if let Reason::Returned { days_ago, .. } = reason {
                    *days_ago += 1;
                }
            }
        };
        assert_eq!(id(Verdict::Returned, &a_day_later), returned);
        let ready = id(Verdict::Ready, &|_| {});
        assert_eq!(id(Verdict::Ready, &|fleet| fleet.generated_at += 86_400), ready);
        assert_ne!(id(Verdict::Ready, &|fleet| fleet.accounts[0].last_seen += 1), ready);
    }

    #[test]
    fn an_event_is_small_and_says_what_it_leaves_out() {
        let many = |fleet: &mut Fleet| {
            let one = fleet.accounts[0].details[0].clone();
            fleet.accounts[0].details = vec![one; 1_000];
        };
        let event = of(Verdict::Active, &many).remove(0);
        assert!(event.body.len() < 20_000, "{}", event.body.len());
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        assert_eq!(body["data"]["integrations_left_out"], 1_000 - INTEGRATIONS);
    }
}
