//! `cellgate outreach --webhook`: tells another program of accounts that have something to change, came back, or can be cut.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use serde_json::{Value, json};

use super::{complain, now, print_line};
use crate::audit::events::{Event, events};
use crate::audit::fleet::Fleet;
use crate::authorities::client_config;
use crate::load;
use crate::webhooks::{Courier, Message, Secret, Summary, Target, send};

/// Secrets at once: the new one and the one that goes.
const MOST_SECRETS: usize = 2;

/// Where to, and signed with what.
#[derive(Debug, clap::Args)]
pub(super) struct WebhookArgs {
    /// Send what there is to tell of each account to this address, signed as Standard Webhooks has it
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// A file with the secret that the receiver has (whsec_...), which nobody else may read. Given twice, messages have two
    /// signatures, for a receiver that changes from one secret to the other: the new one first
    #[arg(long, value_name = "FILE")]
    webhook_secret: Vec<PathBuf>,
    /// Trust these authorities (PEM) in place of those of the system
    #[arg(long, value_name = "FILE")]
    webhook_ca: Option<PathBuf>,
    /// Send over http, which everybody on the way can read, to other machines too
    #[arg(long)]
    plain_http: bool,
    /// Print what would be sent, one message a line, and send nothing
    #[arg(long)]
    dry_run: bool,
}

/// What arguments come to.
#[derive(Debug)]
pub(super) struct Order {
    target: Target,
    secrets: Vec<Secret>,
    tls: Option<ClientConfig>,
    /// Whether nothing is to be written or sent.
    dry_run: bool,
}

impl WebhookArgs {
    /// What they ask for, or every reason why it cannot be done; nothing where there is nothing of it.
    pub(super) fn order(&self) -> Result<Option<Order>, Vec<String>> {
        let Some(url) = &self.webhook else {
            let is_none = self.webhook_secret.is_empty()
                && self.webhook_ca.is_none()
                && !self.plain_http
                && !self.dry_run;
            let wrong = "--webhook-secret, --webhook-ca, --plain-http and --dry-run are of --webhook URL";
            return if is_none { Ok(None) } else { Err(vec![wrong.to_owned()]) };
        };
        let mut wrong = Vec::new();
        let target = Target::parse(url, self.plain_http);
        let target = target.map_err(|error| wrong.push(format!("--webhook: {error}"))).ok();
        if self.webhook_secret.is_empty() && !self.dry_run {
            wrong.push("--webhook-secret names the file with the secret that the receiver has".to_owned());
        }
        if self.webhook_secret.len() > MOST_SECRETS {
            wrong.push(
                "--webhook-secret is given at most twice: the new secret, and the one that goes".to_owned(),
            );
        }
        let mut secrets = Vec::new();
        for path in self.webhook_secret.iter().take(MOST_SECRETS) {
            match secret(path) {
                Ok(secret) => secrets.push(secret),
                Err(error) => wrong.push(format!("--webhook-secret {}: {error}", path.display())),
            }
        }
        let mut trusted = None;
        if !self.dry_run || self.webhook_ca.is_some() {
            match client_config(self.webhook_ca.as_deref()) {
                Ok(config) => trusted = Some(config),
                Err(error) => wrong.push(format!("--webhook-ca: {error:#}")),
            }
        }
        match target {
            Some(target) if wrong.is_empty() => {
                Ok(Some(Order { target, secrets, tls: trusted, dry_run: self.dry_run }))
            }
            _ => Err(wrong),
        }
    }
}

impl Order {
    /// Whether nothing is to be written or sent.
    pub(super) const fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Sends what there is to tell.
    pub(super) fn send(self, fleet: &Fleet) -> Result<Sent> {
        let tls = self.tls.context("an order to send has whom it trusts")?;
        let target = Arc::new(self.target);
        let name = target.to_string();
        let courier = Courier {
            tls: Arc::new(tls),
            target: Arc::clone(&target),
            secrets: self.secrets,
            now,
            random: fastrand::f64,
            accepted: Box::new(|_| ()),
            failed: Box::new(move |failure| {
                complain(&format!("cellgate: {}: {name} {} ({})", failure.about, failure.why, failure.id));
            }),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting to send")?;
        let came = runtime.block_on(send(courier, events(fleet).map(message)));
        Ok(Sent { target: target.to_string(), came })
    }
}

/// Prints what would be sent, one message a line.
pub(super) fn print_messages(fleet: &Fleet) -> Result<()> {
    for event in events(fleet) {
        print_line(&format!("{{\"webhook-id\":\"{}\",\"body\":{}}}", event.id, event.body))?;
    }
    Ok(())
}

/// What came of sending.
pub(super) struct Sent {
    target: String,
    came: Summary,
}

impl Sent {
    /// Whether every message was accepted.
    pub(super) const fn is_done(&self) -> bool {
        self.came.failed == 0 && self.came.unsent == 0
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let Summary { accepted, failed, unsent, stopped } = &self.came;
        json!({ "target": self.target, "accepted": accepted, "failed": failed, "unsent": unsent, "stopped": stopped })
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { accepted, failed, unsent, stopped } = &self.came;
        write!(f, "{}: {accepted} accepted, {failed} failed", self.target)?;
        if let Some(stopped) = stopped {
            write!(f, ", {unsent} not sent ({stopped})")?;
        }
        f.write_str(". Whoever has a message knows it again by its id.")
    }
}

fn message(event: Event) -> Message {
    let about = format!("account {}, {}", event.account, event.kind.as_str());
    Message { id: event.id, about, body: event.body }
}

fn secret(path: &Path) -> Result<Secret, String> {
    let text = load::secret(path)?;
    Secret::parse(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        webhook: WebhookArgs,
    }

    fn order(line: &str) -> Result<Option<Order>, Vec<String>> {
        Command::try_parse_from(line.split_whitespace()).unwrap().webhook.order()
    }

    #[test]
    fn every_reason_is_told_at_once_and_no_secret_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (good, open) = (file("good", secret, 0o600), file("open", secret, 0o644));
        let bad = file("bad", "whsec_canary", 0o600);
        let url = "--webhook https://hooks.example.com/in";
        for (line, expect) in [
            (String::new(), &[][..]),
            (format!("{url} --webhook-secret {good}"), &[]),
            (format!("{url} --webhook-secret {good} --webhook-secret {good}"), &[]),
            (format!("{url} --dry-run"), &[]),
            ("--dry-run".to_owned(), &["are of --webhook URL"]),
            (format!("--webhook-secret {good}"), &["are of --webhook URL"]),
            (url.to_owned(), &["--webhook-secret names the file"]),
            (format!("{url} --webhook-secret {good} --webhook-ca /nowhere"), &["--webhook-ca: /nowhere: "]),
            (format!("{url} --webhook-secret {good} --webhook-ca {bad}"), &["no certificates in PEM"]),
            (format!("{url} --webhook-secret {open}"), &["has mode 0644, so that others can read"]),
            (format!("{url} --webhook-secret {bad}"), &["expected one line: whsec_"]),
            (format!("{url} --webhook-secret /nowhere"), &["/nowhere: cannot be read"]),
            (
                format!("--webhook http://hooks.example.com/ --webhook-secret {good}"),
                &["--plain-http if nobody"],
            ),
            ("--webhook hooks".to_owned(), &["expected an address", "--webhook-secret names"]),
            (format!("{url} {0} {0} {0}", format!("--webhook-secret {good}")), &["is given at most twice"]),
        ] {
            let wrong = order(&format!("outreach {line}")).err().unwrap_or_default();
            assert_eq!(wrong.len(), expect.len(), "{line}: {wrong:?}");
            for (wrong, expect) in wrong.iter().zip(expect) {
                assert!(wrong.contains(expect) && !wrong.contains("canary"), "{line}: {wrong}");
            }
        }
        assert!(order(&format!("outreach {url} --dry-run")).unwrap().unwrap().is_dry());
    }
}
