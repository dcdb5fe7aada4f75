//! Two replicas that share a key: a browser whose session one of them has seen is known to the other by the
//! cookie that the first has given it. Cells neither see that cookie nor can give it.

use loadtest::client::{Ask, Http, Reply};

use crate::process;
use crate::running::{Edge, Folder};
use crate::world::World;

/// A session cookie that no table knows. Its cell accepts it.
const SESSION: &str = "sessionid=FAKEsessionOfABrowser";

const HOST: &str = "cloud.getdbt.com";

/// Names account 12345, of cell-2, on a route whose answer proves the session.
const PROVES: &str = "/api/v3/accounts/12345/projects/";

/// Names nobody.
const PAGE: &str = "/settings/profile?tab=1";

fn with_cookie(folder: &Folder) {
    folder.edit(
        "config/cellgate.yaml",
        "{ prefix: FAKE, min: 4, max: 4 }",
        "{ prefix: FAKE, min: 4, max: 64 }",
    );
    let cookie = "  routing_cookie: { keys: [{ id: test, file: keys/cookie.key }] }\n";
    let from = "  credentials:\n    schemes:";
    folder.write_secret("config/keys/cookie.key", &"0123456789abcdef".repeat(4));
    folder.edit("config/cellgate.yaml", from, &format!("{cookie}{from}"));
}

/// What a page's script asks for in a browser with these cookies.
fn browser(path: &str, cookies: &str) -> Ask {
    Ask::get(HOST, path).header("cookie", cookies).header("sec-fetch-mode", "cors")
}

fn given(reply: &Reply) -> Vec<&str> {
    reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn a_second_replica_knows_a_browser_by_the_cookie_of_the_first() {
    let world = World::prepared(with_cookie);
    let cells =
        ["cell-1", "cell-2", "cell-3", "shared"].map(|name| (name.to_owned(), world.cell(name).addr()));
    let folder = Folder::example(&cells.into());
    with_cookie(&folder);
    let second = Edge::start(folder);
    let ask = |edge: &Edge, http: Http, ask: Ask| world.block_on(edge.tls(http).ask(&ask)).unwrap();

    // The cell's own of that name goes, its others stay.
    let forged = "set=Set-Cookie:__Host-cellgate=forged;set=Set-Cookie:sessionid=kept";
    let first = ask(&world.edge, Http::H1, browser(PROVES, SESSION).sim(forged));
    assert_eq!((first.status.as_u16(), first.cell()), (200, Some("cell-2")), "{}", first.text());
    let [kept, ours] = given(&first)[..] else { unreachable!("{:?}", given(&first)) };
    assert_eq!(kept, "sessionid=kept");
    let (pair, attributes) = ours.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-cellgate=v1.test.12345."), "{ours}");
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=43200");

    for http in [Http::H1, Http::H2] {
        let unknown = ask(&second, http, browser(PAGE, SESSION));
        assert_eq!((unknown.status.as_u16(), unknown.cell()), (404, None), "{}", unknown.text());
        let cookies = format!("a=1;  b = 2; {pair}; {SESSION}");
        let known = ask(
            &second,
            http,
            browser(PAGE, &cookies).header("x-request-id", &format!("by-cookie-{http:?}")),
        );
        assert_eq!((known.status.as_u16(), known.cell()), (200, Some("cell-2")), "{}", known.text());
        let seen = known.seen().unwrap();
        assert_eq!(seen.headers("cookie").collect::<Vec<_>>(), [format!("a=1;  b = 2; {SESSION}")]);
        assert_eq!(given(&known), [] as [&str; 0], "a page that names nobody proves nothing");
        let line = second.access_line(&format!("by-cookie-{http:?}"));
        assert_eq!((&line["source"], &line["account"]), (&"cookie".into(), &12345.into()), "{line}");
    }

    let cookies = format!("cookie: {SESSION}; {pair}");
    let explained =
        process::run(&second.folder, &["explain", "--host", HOST, "--path", PAGE, "--header", &cookies]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("account     12345 (source: cookie)\ncell        cell-2 (mapped)"), "{text}");
    assert!(!text.contains("FAKEsession"), "secrets are not repeated: {text}");

    // Young enough: not given again, and not taken for a word about another account.
    let again = ask(&second, Http::H1, browser(PROVES, &format!("{SESSION}; {pair}")));
    assert_eq!((again.cell(), given(&again).len()), (Some("cell-2"), 0));
    let other = ask(&second, Http::H1, browser("/deploy/26228/", &format!("{SESSION}; {pair}")));
    assert_eq!(other.cell(), Some("cell-3"));
    // A changed account is nobody's, and so is a cookie on its own where a credential is asked for.
    let changed = pair.replace(".12345.", ".26228.");
    assert_eq!(ask(&second, Http::H1, browser(PAGE, &changed)).status, 404);
    assert_eq!(ask(&second, Http::H1, browser("/api/v2/whoami", pair)).status, 401);

    // Refused by the cell, over plain text, or at the account's own address: nothing is given.
    let refused = ask(&world.edge, Http::H1, browser(PROVES, SESSION).sim("status=403"));
    assert_eq!((refused.status.as_u16(), given(&refused).len()), (403, 0));
    let plain = world.block_on(world.edge.plain(Http::H1).ask(&browser(PROVES, SESSION))).unwrap();
    assert_eq!((plain.status.as_u16(), given(&plain).len()), (200, 0));
    let own = Ask { host: "acme.us1.dbt.com".into(), ..browser(PROVES, SESSION) };
    let own = ask(&world.edge, Http::H1, own.sim("set=Set-Cookie:__Host-cellgate=its-own"));
    assert_eq!(given(&own), ["__Host-cellgate=its-own"], "there it means nothing to us");
}
