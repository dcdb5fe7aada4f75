//! A headless Chromium that is told what to do, one command after the other, over its debugging pipe: for pages that somebody
//! clicks on.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::browser;
use crate::running::eventually;

/// Longest wait for one answer; a busy machine takes seconds to draw a long page.
const ANSWER: Duration = Duration::from_secs(60);

/// Messages that nobody has read yet: a page that says more than that is broken.
const MESSAGES: usize = 10_000;

/// One page in a browser of its own, which ends with it.
pub struct Page {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    commands: u64,
    /// What the page did that was not asked for: requests, complaints of its policy, errors of its script.
    pub events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Page {
    /// An empty page.
    pub fn open() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let chromium = browser(profile.path());
        // The pipe is descriptors 3 and 4, which only a shell can give a child without unsafe code.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$@\" --remote-debugging-pipe 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null",
            "sh",
        ]);
        command.arg(chromium.get_program()).args(chromium.get_args());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, messages) = sync_channel(MESSAGES);
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let (session, events) = (String::new(), Vec::new());
        let mut page = Self { child, input, messages, session, commands: 0, events, _profile: profile };
        let target = page.tell("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = page.tell("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        page.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.tell(&format!("{domain}.enable"), json!({}));
        }
        page
    }

    /// Sends a command and waits for its answer.
    pub fn tell(&mut self, method: &str, params: Value) -> Value {
        self.commands += 1;
        let mut command = json!({"id": self.commands, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.input.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.message(method);
            if message["id"] == self.commands {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Opens a file, and forgets what was before.
    pub fn load(&mut self, file: &Path) {
        self.visit(&format!("file://{}", file.display()));
    }

    /// The same of an address.
    pub fn visit(&mut self, url: &str) {
        self.events.clear();
        let loader = self.tell("Page.navigate", json!({"url": url}))["loaderId"].clone();
        while !is_loaded(&self.events, &loader) {
            let message = self.message("the page to load");
            self.events.push(message);
        }
    }

    /// What an expression is; one of a script that the page's own policy does not concern.
    pub fn ask(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.tell("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// As wide as this, at one pixel a pixel.
    pub fn resize(&mut self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tell("Emulation.setDeviceMetricsOverride", params);
    }

    /// For screens (`screen`) or paper (`print`), `light` or `dark`.
    pub fn media(&mut self, media: &str, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.tell("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
    }

    /// Base64 of a picture of what is seen.
    pub fn picture(&mut self) -> String {
        let answer = self.tell("Page.captureScreenshot", json!({"format": "png"}));
        answer["data"].as_str().unwrap().to_owned()
    }

    /// Base64 of a PDF.
    pub fn pdf(&mut self) -> String {
        let answer =
            self.tell("Page.printToPDF", json!({"preferCSSPageSize": true, "printBackground": true}));
        answer["data"].as_str().unwrap().to_owned()
    }

    fn message(&self, what: &str) -> Value {
        match self.messages.recv_timeout(ANSWER) {
            Ok(message) => message,
            Err(error) => panic!("waiting for {what}: {error}; `make test` installs the browser"),
        }
    }
}

/// Whether this document has loaded: that the one before has, the empty one of the beginning too, may be told after its end.
fn is_loaded(events: &[Value], loader: &Value) -> bool {
    let is_begun = |event: &Value| {
        event["method"] == "Page.frameNavigated" && event["params"]["frame"]["loaderId"] == *loader
    };
    let mut since = events.iter().skip_while(|event| !is_begun(event));
    since.any(|event| event["method"] == "Page.loadEventFired")
}

/// What the page says, once it says this.
pub fn says(page: &mut Page, selector: &str, part: &str) -> String {
    let expression = format!("document.querySelector({selector:?})?.textContent ?? ''");
    let mut last = String::new();
    eventually(&format!("{part:?} in {selector}"), || {
        last = page.ask(&expression).as_str().unwrap().to_owned();
        last.contains(part).then_some(())
    });
    last
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
