//! `cellgate outreach`: what is sent to the owners of accounts that still use the legacy hosts.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::books_source::BooksSource;
use super::form::Form;
use super::report::{configured, fleet};
use super::webhook::{Sent, WebhookArgs, print_messages};
use super::{ConfigFolder, FAILED, OK, USAGE, complain, print_line, progress};
use crate::audit::fleet::Fleet;
use crate::audit::outreach::{csv, letters};
use crate::telemetry::wall_time::unix_seconds;

/// Who uses what is for the owner of these files only.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Write what is sent to the owners of accounts: a table for mail merge, and a letter and a page for each of them.
///
/// Of each account that still uses a legacy host, or did so lately. Makes the folder, with `accounts.csv` and `letters/` in
/// it; one that is there already is not touched. With --webhook another program is told, in place of the folder or besides:
/// `account.outreach` of each of these accounts, `account.returned` and `account.ready`; what was told before has the same id.
/// Exit codes: 0 written and sent, 1 the books cannot be read, the folder not be made, or some of it not be sent, 64 wrong
/// arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to make
    #[arg(value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Where the books stand.
    #[command(flatten)]
    books: BooksSource,
    /// Its accounts have the addresses, and its clients.yaml says what the owners of clients have to change.
    #[command(flatten)]
    config: ConfigFolder,
    #[command(flatten)]
    webhook: WebhookArgs,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let order = match args.webhook.order() {
        Ok(None) if args.to.is_none() => {
            return wrong(&["name a folder to make, or --webhook URL".to_owned()]);
        }
        Ok(Some(order)) if order.is_dry() && args.to.is_some() => {
            return wrong(&["--dry-run makes no folder: leave FOLDER out".to_owned()]);
        }
        Ok(order) => order,
        Err(reasons) => return wrong(&reasons),
    };
    let now = unix_seconds(SystemTime::now());
    let Some(snapshot) = configured(&args.config, now) else {
        anyhow::bail!(
            "nobody is written to without addresses, and without who is cut or has no cell of its own yet"
        )
    };
    let fleet = fleet(&args.books, Some(&snapshot), now)?;
    let is_json = args.form.is_json();
    let letters = args.to.as_ref().map(|to| letters_to(to, &fleet)).transpose()?;
    if let (Some(to), Some(many), false) = (&args.to, letters, is_json) {
        let (folder, s) = (to.display(), if many == 1 { "" } else { "s" });
        print_line(&format!(
            "{folder}: accounts.csv, and {many} letter{s} in letters/, each as Markdown and as a page."
        ))?;
    }
    let sent = match order {
        // Messages are JSON by themselves, one a line.
        Some(order) if order.is_dry() => return print_messages(&fleet).map(|()| OK.into()),
        Some(order) => Some(order.send(&fleet)?),
        None => None,
    };
    match &sent {
        _ if is_json => {
            let webhook = sent.as_ref().map(Sent::to_json);
            let told = serde_json::json!({ "folder": args.to, "letters": letters, "webhook": webhook });
            print_line(&told.to_string())?;
        }
        Some(sent) => print_line(&sent.to_string())?,
        None => {}
    }
    Ok(if sent.is_none_or(|sent| sent.is_done()) { OK } else { FAILED }.into())
}

fn wrong(reasons: &[String]) -> Result<ExitCode> {
    reasons.iter().for_each(|reason| complain(&format!("cellgate: {reason}")));
    Ok(USAGE.into())
}

/// The table, and a letter and a page for each account; says how many.
fn letters_to(to: &Path, fleet: &Fleet) -> Result<usize> {
    let table = csv(fleet).context("writing CSV")?;
    let folder = to.display();
    make(to).with_context(|| format!("{folder}: name a folder that is not there yet"))?;
    write(&to.join("accounts.csv"), &table)?;
    let pages = to.join("letters");
    make(&pages)?;
    let mut many = 0;
    let busy = progress::busy("writing letters");
    for letter in letters(fleet) {
        write(&pages.join(format!("{}.md", letter.account)), letter.text.as_bytes())?;
        write(&pages.join(format!("{}.html", letter.account)), letter.page.as_bytes())?;
        many += 1;
    }
    drop(busy);
    Ok(many)
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(folder)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    file.and_then(|mut file| file.write_all(bytes)).with_context(|| path.display().to_string())
}
