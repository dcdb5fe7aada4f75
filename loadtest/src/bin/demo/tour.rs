//! The lines to try, in order: what each shows, and what must come back. Printing and checking use the same
//! list, so that no line is printed that was not tried.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::place::Place;
use crate::start::{Edge, SHARED_TOKEN, TOKENS, cell_args};

/// A line to try.
#[derive(Debug)]
pub struct Step {
    /// A new group begins here.
    pub heading: &'static str,
    /// What the line shows.
    pub says: &'static str,
    /// For a shell, in the folder of the repository.
    pub line: String,
    /// What its output must contain.
    pub expect: &'static [&'static str],
    /// What its output must not contain.
    pub never: &'static str,
    /// Its exit code.
    pub code: i32,
    /// It runs until it is stopped, and says this first.
    pub stays: bool,
}

/// Only the head of the answer, which is where the routing shows.
const HEAD: &str = "-o /dev/null -D -";

/// curl's exit code when `-m` has ended it.
const TIMED_OUT: i32 = 28;

/// What the shared cell does while lines are made: those that cannot work are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// It answers.
    Answers,
    /// Its process is gone.
    Dead,
    /// Its process is there again, and some of its requests are refused still.
    ComesBack,
}

/// All lines.
pub fn steps(place: &Place, edge: &Edge, shared: Shared) -> Vec<Step> {
    let curl = Curl::new(place, edge);
    let mut steps = legacy(&curl);
    steps.extend(own_address(&curl));
    steps.extend(streams(&curl, edge));
    steps.extend(refusals(&curl));
    steps.extend(the_incident(place, edge, &curl, shared));
    steps.extend(evacuation(place, &curl));
    steps.extend(operators(place, edge));
    steps
}

/// What `make run` prints.
pub fn text(place: &Place, edge: &Edge, steps: &[Step]) -> Result<String> {
    let folder = std::env::current_dir().context("finding the current folder")?;
    let mut text = format!(
        "\ncellgate serves {}/ on https://{}, in front of four simulated cells, all on loopback.\n\
         Paste these lines into another terminal, in this order.\n\n  cd '{}'\n",
        place.config.display(),
        edge.https,
        folder.display(),
    );
    for step in steps {
        if !step.heading.is_empty() {
            writeln!(text, "\n{}\n{}", step.heading, "-".repeat(step.heading.len()))?;
        }
        writeln!(text, "# {}\n  {}", step.says, step.line)?;
    }
    writeln!(
        text,
        "\nAdmin pages, for a browser: http://{}/ (what changes something is on {}/admin.sock)\n\
         Logs: {}/*.log. Ctrl-C stops everything.",
        edge.admin,
        place.state.display(),
        place.state.display()
    )?;
    Ok(text)
}

/// Command lines for requests.
struct Curl {
    /// The authority that signed cellgate's certificates.
    ca: String,
    https: String,
    port: u16,
}

impl Curl {
    fn new(place: &Place, edge: &Edge) -> Self {
        let (https, port) = (edge.https.to_string(), edge.https.port());
        Self { ca: place.ca.display().to_string(), https, port }
    }

    /// To a legacy host, as if its name led here.
    fn legacy(&self, options: &str, token: &str, url: &str) -> String {
        let Self { ca, https, .. } = self;
        let token =
            if token.is_empty() { String::new() } else { format!(" -H 'Authorization: Token {token}'") };
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        // Our own bodies end without a new line.
        let end = if options.ends_with("-i") { "; echo" } else { "" };
        format!("curl -sS{options} '{url}'{token} --cacert {ca} --connect-to ::{https}{end}")
    }

    /// To an account's own address.
    fn own(&self, options: &str, token: &str, host: &str, path: &str) -> String {
        let Self { ca, port, .. } = self;
        format!(
            "curl -sS {options} 'https://{host}:{port}{path}' -H 'Authorization: Token {token}' --cacert {ca} \
             --resolve '{host}:{port}:127.0.0.1'"
        )
    }
}

fn step(says: &'static str, line: String, expect: &'static [&'static str]) -> Step {
    Step { heading: "", says, line, expect, never: "", code: 0, stays: false }
}

fn with_heading(heading: &'static str, mut steps: Vec<Step>) -> Vec<Step> {
    if let Some(first) = steps.first_mut() {
        first.heading = heading;
    }
    steps
}

/// The credential of an account in a cell of its own.
fn token(cell: &str) -> &'static str {
    TOKENS.iter().find(|(of, ..)| *of == cell).map_or("", |(_, token, _)| token)
}

fn legacy(curl: &Curl) -> Vec<Step> {
    let moved = token("cell-2");
    let jobs = "https://cloud.getdbt.com/api/v2/accounts/12345/jobs/";
    with_heading(
        "The legacy hosts",
        vec![
            step(
                "The path names the account, its own cell answers, and the client is told what to call instead",
                curl.legacy(HEAD, moved, jobs),
                &["HTTP/2 200", "x-cell: cell-2", "deprecation: @", "sunset: ", "rel=\"successor-version\""],
            ),
            step(
                "What reached the cell: path and query byte for byte, and the verdict in x-cellgate-*",
                curl.legacy("", moved, &format!("{jobs}?include_related=%5Benvironment%5D&limit=2")),
                &[
                    "\"target\": \"/api/v2/accounts/12345/jobs/?include_related=%5Benvironment%5D&limit=2\"",
                    "x-cellgate-account",
                ],
            ),
            step(
                "GraphQL on the metadata surface: nothing but the token says whose request it is",
                curl.legacy(
                    &format!("{HEAD} --json '{{\"query\":\"{{ environments {{ id }} }}\"}}'"),
                    moved,
                    "https://metadata.cloud.getdbt.com/graphql",
                ),
                &["HTTP/2 200", "x-cell: cell-2", "https://acme.metadata.us1.dbt.com/graphql"],
            ),
            step(
                "gRPC on the semantic layer: a header names an environment, a table says whose (message, then trailers)",
                format!(
                    "printf '\\000\\000\\000\\000\\005hello' | {} | cat -v",
                    curl.legacy(
                        "-i -o - --data-binary @- -H 'content-type: application/grpc' -H 'te: trailers' \
                         -H 'environmentid: 88991'",
                        moved,
                        "https://semantic-layer.cloud.getdbt.com/semantic_layer.v1.Query/Echo",
                    )
                ),
                &["x-cell: cell-2", "content-type: application/grpc", "hello", "grpc-status: 0"],
            ),
        ],
    )
}

fn own_address(curl: &Curl) -> Vec<Step> {
    let born = token("cell-1");
    let mut own = step(
        "An account's own address: nothing is deprecated here",
        curl.own(HEAD, born, "ab123.us1.dbt.com", "/api/v2/accounts/70403103966603/projects/"),
        &["HTTP/2 200", "x-cell: cell-1"],
    );
    own.never = "deprecation";
    with_heading("The cells' hosts", vec![own])
}

fn streams(curl: &Curl, edge: &Edge) -> Vec<Step> {
    let moved = token("cell-2");
    let mut tunnel = step(
        "A WebSocket: 101, then silence until curl gives up after a second",
        curl.legacy(
            "-i -m 1 --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
             -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='",
            moved,
            "https://cloud.getdbt.com/ws/develop/12345/",
        ),
        &["HTTP/1.1 101 ", "x-cell: cell-2"],
    );
    tunnel.code = TIMED_OUT;
    let plain = |options: &str, address| {
        format!(
            "curl -sS {HEAD}{options} 'http://{address}/api/v3/accounts/12345/' -H 'Host: cloud.getdbt.com' \
             -H 'Authorization: Bearer {moved}'"
        )
    };
    with_heading(
        "Streams and protocols",
        vec![
            step(
                "Server-sent events arrive one by one, half a second apart (x-sim tells the simulated cell to send them)",
                curl.legacy(
                    "-N -H 'x-sim: sse=4;every_ms=500'",
                    moved,
                    "https://cloud.getdbt.com/api/v2/accounts/12345/runs/1/events/",
                ),
                &["data:"],
            ),
            tunnel,
            step("HTTP/1.1 without TLS", plain("", edge.http), &["HTTP/1.1 200 ", "x-cell: cell-2"]),
            step(
                "HTTP/2 without TLS, on a port of its own",
                plain(" --http2-prior-knowledge", edge.h2c),
                &["HTTP/2 200", "x-cell: cell-2"],
            ),
        ],
    )
}

fn refusals(curl: &Curl) -> Vec<Step> {
    let moved = token("cell-2");
    with_heading(
        "What cellgate answers itself",
        vec![
            step(
                "An account that is not in the table: refused with advice, in the API's own shape",
                curl.legacy("-i", moved, "https://cloud.getdbt.com/api/v2/accounts/999999999/"),
                &["HTTP/2 404", "unmapped_account", "x-cellgate-outcome: not-forwarded"],
            ),
            step(
                "No credential: refused before the account is looked up",
                curl.legacy("-i", "", "https://cloud.getdbt.com/api/v2/accounts/12345/"),
                &["HTTP/2 401", "credential_required"],
            ),
            step(
                "Path and query that name different accounts",
                curl.legacy("-i", moved, "https://cloud.getdbt.com/api/v2/accounts/12345/?account_id=1001"),
                &["HTTP/2 400", "conflicting_accounts"],
            ),
        ],
    )
}

/// Where a request of the shared cell goes.
const SHARED_URL: &str = "https://cloud.getdbt.com/api/v2/accounts/1001/";

/// From how the shared cell is now. Nothing is killed that is not ours: one that was started in another terminal ends there.
fn the_incident(place: &Place, edge: &Edge, curl: &Curl, shared: Shared) -> Vec<Step> {
    let kill = edge.shared_pid.map(|pid| step("Kill the shared cell", format!("kill -9 {pid}"), &[]));
    let (heading, mut steps) = match shared {
        Shared::Answers => ("The incident: the shared environment dies", while_it_answers(curl)),
        Shared::Dead => ("The incident: the shared environment is dead", Vec::new()),
        Shared::ComesBack => ("The incident: the shared environment comes back", while_it_comes_back(curl)),
    };
    if shared == Shared::Dead || kill.is_some() {
        steps.extend(kill.filter(|_| shared != Shared::Dead));
        steps.extend(while_it_is_dead(place, edge, curl));
    }
    with_heading(heading, steps)
}

fn while_it_answers(curl: &Curl) -> Vec<Step> {
    vec![
        step(
            "Account 1001 still lives in the shared cell",
            curl.legacy(HEAD, SHARED_TOKEN, SHARED_URL),
            &["HTTP/2 200", "x-cell: shared"],
        ),
        step(
            "From that answer cellgate has learned whose token this is: here nothing else names the account",
            curl.legacy(HEAD, SHARED_TOKEN, "https://cloud.getdbt.com/api/v2/accounts/"),
            &["HTTP/2 200", "x-cell: shared"],
        ),
    ]
}

fn while_it_comes_back(curl: &Curl) -> Vec<Step> {
    let says = "Account 1001 lives there: 200, or 503 with Retry-After as long as only a share of its requests is let in";
    vec![step(says, curl.legacy("-i", SHARED_TOKEN, SHARED_URL), &["HTTP/2 "])]
}

fn while_it_is_dead(place: &Place, edge: &Edge, curl: &Curl) -> Vec<Step> {
    let args: Vec<String> = cell_args("shared", edge.shared.port());
    let mut again = step(
        "Start it again; it runs in this terminal, so open one more for the rest",
        format!("{} {}", place.program("simcell").display(), args.join(" ")),
        &["simcell name=shared"],
    );
    again.stays = true;
    vec![
        step(
            "An account with a cell of its own does not notice",
            curl.legacy(HEAD, token("cell-2"), "https://cloud.getdbt.com/api/v2/accounts/12345/jobs/"),
            &["HTTP/2 200", "x-cell: cell-2"],
        ),
        step(
            "An account of the shared cell is told that nothing was sent and it may try again",
            curl.legacy("-i", SHARED_TOKEN, SHARED_URL),
            &["HTTP/2 502", "cell_unreachable", "x-cellgate-outcome: not-forwarded"],
        ),
        again,
        step(
            "And it answers again, after some seconds with 503 and Retry-After",
            curl.legacy(HEAD, SHARED_TOKEN, SHARED_URL),
            &["HTTP/2 200", "x-cell: shared"],
        ),
    ]
}

fn evacuation(place: &Place, curl: &Curl) -> Vec<Step> {
    let accounts = place.config.join("accounts.csv");
    let edit = |from, to| format!("sed -i 's/^1001,mt001,{from},/1001,mt001,{to},/' {}", accounts.display());
    let ask = || curl.legacy(HEAD, SHARED_TOKEN, "https://cloud.getdbt.com/api/v2/accounts/1001/");
    with_heading(
        "An account moves",
        vec![
            step(
                "Give account 1001 another cell; the file is read as soon as it changes",
                edit("shared", "cell-3"),
                &[],
            ),
            step("A moment later", ask(), &["HTTP/2 200", "x-cell: cell-3"]),
            step("And back", edit("cell-3", "shared"), &[]),
            step("A moment later", ask(), &["HTTP/2 200", "x-cell: shared"]),
        ],
    )
}

fn operators(place: &Place, edge: &Edge) -> Vec<Step> {
    let cellgate = place.program("cellgate").display().to_string();
    let (config, state) = (place.config.display(), place.state.display());
    let page = |path: &str| format!("curl -sS http://{}{path}", edge.admin);
    let json = |path: &str| page(path) + "; echo";
    with_heading(
        "For operators",
        vec![
            step(
                "Would this configuration be taken? Every problem at once, with file and line, if not",
                format!("{cellgate} check --config {config}"),
                &["The configuration is good"],
            ),
            step(
                "What would happen to a request, and why, by the code that decides; nothing is sent",
                format!(
                    "{cellgate} explain --config {config} --host cloud.getdbt.com \
                     --path /api/v2/accounts/12345/jobs/ --header 'Authorization: Token {}'",
                    token("cell-2")
                ),
                &["cell-2", "12345"],
            ),
            step(
                "Who still uses the legacy hosts, with what; counted every ten seconds",
                format!("{cellgate} report --state-dir {state}"),
                &["12345", "1001"],
            ),
            step(
                "Read the configuration again; refused whole if anything in it is wrong",
                format!("curl -sS -X POST --unix-socket {state}/admin.sock http://localhost/reload; echo"),
                &["\"outcome\":"],
            ),
            step("Ready for traffic?", json("/readyz"), &["\"ready\":true"]),
            step("Generation, hash, and how the last reload ended", json("/config"), &["\"generation\":"]),
            step("Cells", json("/cells"), &["\"cell-1\"", "\"shared\""]),
            step("Metrics", format!("{} | grep -c ^cellgate_", page("/metrics")), &[]),
            step(
                "The access log: one line for each request",
                format!("tail -n 3 {state}/access.log"),
                &["\"cell\":"],
            ),
        ],
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(shared: Shared, shared_pid: Option<u32>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::empty(folder.path()).unwrap();
        let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let [http, https, h2c, admin, shared_at] = [8080, 8443, 8082, 9900, 7104].map(at);
        let edge = Edge { http, https, h2c, admin, shared_pid, shared: shared_at };
        super::text(&place, &edge, &steps(&place, &edge, shared)).unwrap()
    }

    #[test]
    fn no_line_is_printed_that_cannot_work_now() {
        let (lives, dead) = ("# Account 1001 still lives in", "does not notice");
        let check = |shared, pid, expect: [bool; 3]| {
            let text = text(shared, pid);
            let found = [text.contains("kill -9 4711"), text.contains(lives), text.contains(dead)];
            assert_eq!((found, text.contains("kill -9")), (expect, expect[0]), "{shared:?}: {text}");
        };
        check(Shared::Answers, Some(4711), [true, true, true]);
        check(Shared::Dead, None, [false, false, true]);
        check(Shared::ComesBack, Some(4711), [true, false, true]);
        // Started in another terminal: it ends there.
        check(Shared::Answers, None, [false, true, false]);
        check(Shared::ComesBack, None, [false, false, false]);
    }
}
