//! The page at `/`: what can be seen here, one line each. No script, no asset from elsewhere.

use std::path::Path;

use crate::policy::html::escaped;

const PAGE: &str = include_str!("index.html");

/// The row of reports, where this door shows them and where it does not.
const REPORT: &str = "<tr><th scope=\"row\"><a href=\"/report\">/report</a></th><td>Who still uses the legacy hosts, from the \
    books: pace, accounts, what to change; <code>/report/accounts/{id}</code> has one account, and \
    <a href=\"/report.json\">/report.json</a> is for programs. Kept for a minute.</td></tr>";
const REPORT_ELSEWHERE: &str = "<tr><th scope=\"row\">/report</th><td>Who still uses the legacy hosts, from the books; on this port \
    only with <code>admin.loopback_report</code>, for everybody on the machine can call it.</td></tr>";

/// The page, with the path of the unix socket where there is one, and with reports where this door shows them.
pub(super) fn index(socket: Option<&Path>, reports: bool) -> String {
    let socket = socket.map_or_else(
        || "No admin socket is configured (<code>admin.unix</code>); SIGHUP reloads.".to_owned(),
        |path| {
            let path = escaped(&path.display().to_string());
            format!("<code>curl --unix-socket {path} -X POST http://admin/reload</code>")
        },
    );
    let (here, elsewhere) = if reports { (REPORT, "") } else { ("", REPORT_ELSEWHERE) };
    PAGE.replace("{{report}}", here)
        .replace("{{report_elsewhere}}", elsewhere)
        .replace("{{socket}}", &socket)
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = index(Some(Path::new("/run/<a>&'b'/admin.sock")), true);
        assert!(page.contains("/run/&lt;a&gt;&amp;&#39;b&#39;/admin.sock"), "{page}");
        for banned in ["src=", "http-equiv", "<script", "@import", "url(", "{{"] {
            assert!(!page.contains(banned), "{banned}");
        }
        for path in ["/healthz", "/readyz", "/metrics", "/config", "/live", "/cells", "/moves", "/brownouts"]
        {
            assert!(page.contains(&format!("href=\"{path}\"")), "{path}");
        }
        for path in ["POST /reload", "POST /upgrade", "POST /break-glass", "/levers", "/accounts/{id}"] {
            assert!(page.contains(path), "{path}");
        }
        assert!(page.contains("href=\"/report\"") && !page.contains("loopback_report"), "{page}");
        let without = index(None, false);
        assert!(!without.contains("href=\"/report\"") && without.contains("loopback_report"), "{without}");
    }
}
