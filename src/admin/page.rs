//! The page at `/`: what can be seen here, one line each. No script, no asset from elsewhere.

use std::path::Path;

use crate::policy::html::escaped;

const PAGE: &str = include_str!("index.html");

/// The page, with the path of the unix socket where there is one.
pub(super) fn index(socket: Option<&Path>) -> String {
    let socket = socket.map_or_else(
        || "No admin socket is configured (<code>admin.unix</code>); SIGHUP reloads.".to_owned(),
        |path| {
            let path = escaped(&path.display().to_string());
            format!("<code>curl --unix-socket {path} -X POST http://admin/reload</code>")
        },
    );
    PAGE.replace("{{socket}}", &socket).replace("{{version}}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = index(Some(Path::new("/run/<a>&'b'/admin.sock")));
        assert!(page.contains("/run/&lt;a&gt;&amp;&#39;b&#39;/admin.sock"), "{page}");
        for banned in ["src=", "http-equiv", "<script", "@import", "url(", "{{"] {
            assert!(!page.contains(banned), "{banned}");
        }
        for path in ["/healthz", "/readyz", "/metrics", "/config", "/cells", "/moves", "/brownouts"] {
            assert!(page.contains(&format!("href=\"{path}\"")), "{path}");
        }
        for path in ["POST /reload", "POST /upgrade", "POST /break-glass", "/levers", "/accounts/{id}"] {
            assert!(page.contains(path), "{path}");
        }
    }
}
