//! `cellgate upgrade`: asks the running cellgate, over its admin socket, to start the program that is now in
//! its place and to hand over to it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::admin_door::AdminDoor;
use super::admin_socket::{Door, ask_door};
use super::form::Form;
use super::{FAILED, OK, complain, print_line};

/// Longer than the admin plane lets a call take.
const WITHIN: Duration = Duration::from_secs(80);

/// Replace the running cellgate by the program that is now in its place, without losing a request.
///
/// Exit codes: 0 the new process serves, 1 it does not, and the old one goes on as before, 3 it serves, but not what the
/// configuration files say.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminDoor,
    #[command(flatten)]
    form: Form,
}

/// It serves, and not what the files say.
const NOT_THE_FILES: u8 = 3;

/// Until the old process has left the door that it shares with the new one. It takes milliseconds.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Why the process that serves now does not serve what the files say, in its own words.
fn not_the_files(door: &Door, pid: &Value) -> anyhow::Result<Option<String>> {
    let since = Instant::now();
    let said = loop {
        let answer = ask_door(door, "GET /readyz", "", WITHIN);
        let is_late = since.elapsed() > LEAVES_WITHIN;
        match answer {
            // The old process may have taken the question, and left before it has answered.
            Err(_) if !is_late => {}
            answer => {
                let said: Value = serde_json::from_str(&answer?.body).unwrap_or_default();
                let is_another = said.get("pid").is_some_and(|who| who != pid);
                if !is_another || is_late {
                    break said;
                }
            }
        }
        std::thread::sleep(PAUSE);
    };
    let mut reasons = said["reasons"].as_array().into_iter().flatten();
    let last_good = reasons.find(|reason| reason["reason"] == "last_good");
    Ok(last_good.and_then(|reason| reason["detail"].as_str()).map(str::to_owned))
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let door = args.admin.door()?;
    let answer = ask_door(&door, "POST /upgrade", "", WITHIN)?;
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.is_ok {
        print_line(&match args.form.is_json() {
            true => answer.body.trim().to_owned(),
            false => format!("upgraded: process {} serves", said["pid"]),
        })?;
        return Ok(not_the_files(&door, &said["pid"])?
            .map_or(OK, |why| {
                complain(&format!("cellgate: {why}"));
                NOT_THE_FILES
            })
            .into());
    }
    let words = ["what", "next"].map(|field| said[field].as_str().unwrap_or_default());
    complain(&format!("cellgate: {}", words.join(" ").trim()));
    Ok(FAILED.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// In place of an answer: it leaves without one.
    const GONE: &str = "";

    /// A door at which these answer `/readyz`, one after another.
    fn door(answers: Vec<&'static str>) -> (Door, std::thread::JoinHandle<()>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door::Http(listener.local_addr().unwrap());
        let speaker = std::thread::spawn(move || {
            for body in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                if body == GONE {
                    continue;
                }
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        (door, speaker)
    }

    #[test]
    fn only_the_new_process_is_asked_what_it_serves() {
        let old = r#"{"ready":true,"reasons":[],"pid":6}"#;
        let new = r#"{"ready":true,"reasons":[{"reason":"last_good","detail":"A typo."}],"pid":7}"#;
        let before_there_was_a_pid = r#"{"ready":true,"reasons":[]}"#;
        for (answers, expect) in [
            (vec![old, old, new], Some("A typo.")),
            (vec![old, GONE, new], Some("A typo.")),
            (vec![new], Some("A typo.")),
            (vec![before_there_was_a_pid], None),
        ] {
            let (door, speaker) = door(answers);
            assert_eq!(not_the_files(&door, &Value::from(7)).unwrap().as_deref(), expect);
            speaker.join().unwrap();
        }
    }
}
