//! What routing reads: Host, absolute targets, and the path, query and header that name an account.

use super::{Payload, hidden};

pub fn all() -> Vec<Payload> {
    let mut all = Vec::new();
    hosts(&mut all);
    absolute(&mut all);
    paths(&mut all);
    ids(&mut all);
    queries(&mut all);
    headers(&mut all);
    all
}

/// Hosts of nobody, of two, and of one in unusual spelling.
const HOSTS: [&str; 66] = [
    "old.test",
    "OLD.test",
    "old.test.",
    "old.test..",
    "old.test:80",
    "old.test:443",
    "old.test:8080",
    "old.test:0",
    "old.test:",
    "old.test:99999",
    "old.test:+80",
    "old.test:80a",
    "old.test:80:80",
    "old.test :80",
    "old.test,",
    "old.test, @oth.cells.test",
    "old.test,@oth.cells.test",
    "old.test @oth.cells.test",
    "old.test\t@oth.cells.test",
    "old.test/@oth.cells.test",
    "old.test#@oth.cells.test",
    "old.test?@oth.cells.test",
    "old.test\\@oth.cells.test",
    "old.test;@oth.cells.test",
    "@oth.cells.test@old.test",
    "user:pass@old.test",
    "old.test%00.@oth.cells.test",
    "old.test\0@oth.cells.test",
    "old%2etest",
    "old\u{3002}test",
    "old\u{ff0e}test",
    "xn--old-abc.test",
    ".old.test",
    "old..test",
    "-old.test",
    "*.test",
    "*.cells.test",
    "@own.cells.test",
    "@oth.cells.test",
    "@own.CELLS.Test",
    "@own.cells.test.",
    "@own.cells.test:80",
    "@own.@oth.cells.test",
    "@oth.@own.cells.test",
    "x.@own.cells.test",
    "@own-.cells.test",
    "@own .cells.test",
    "@own.cells.test @oth.cells.test",
    "cells.test",
    ".cells.test",
    "nobody.cells.test",
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "[::1]",
    "[::1",
    "[::ffff:127.0.0.1]",
    "localhost",
    "localhost:9",
    "169.254.169.254",
    "",
    " ",
    "\"old.test\"",
    "old.test\u{a0}",
    "old_.test",
    "http://old.test",
];

fn hosts(all: &mut Vec<Payload>) {
    let spoof =
        "X-Forwarded-Host: @oth.cells.test\r\nForwarded: host=@oth.cells.test\r\nX-Host: @oth.cells.test\r\n";
    for host in HOSTS {
        for target in ["/api/v2/accounts/@AAA/@tagnnn", "/@tagnnn", "/api/v2/accounts/@BBB/@tagnnn"] {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                for (before, after) in
                    [("", ""), ("", spoof), ("Host: old.test\r\n", ""), ("", "Host: old.test\r\n")]
                {
                    let head = format!("GET {target} {version}\r\n{before}Host: {host}\r\n{after}\r\n");
                    all.push(Payload::new("Host", head));
                }
            }
        }
        let glued = format!("GET /@tagnnn HTTP/1.1\r\nX: y\r\nHost:{host}\r\nhOsT: @own.cells.test\r\n\r\n");
        all.push(Payload::new("Host twice", glued));
    }
    for nameless in [
        "",
        "X-Host: old.test\r\n",
        "Host\r\n",
        "Host : old.test\r\n",
        " Host: old.test\r\n",
        "H\0st: old.test\r\n",
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            for hidden in hidden() {
                let head = format!("GET /api/v2/accounts/@AAA/@tagnnn {version}\r\n{nameless}\r\n");
                all.push(Payload::new("no Host", [head.as_bytes(), &hidden].concat()));
            }
        }
    }
}

fn absolute(all: &mut Vec<Payload>) {
    for scheme in [
        "http://",
        "https://",
        "HTTP://",
        "http:/",
        "http:",
        "//",
        "ftp://",
        "http:///",
        "http:\\\\",
        "hTtP://x@",
    ] {
        for authority in [
            "old.test",
            "OLD.TEST:80",
            "old.test.",
            "@oth.cells.test",
            "@own.cells.test",
            "u@old.test",
            "old.test@evil.test",
            "",
            "old.test:81",
            "old.test\\@evil.test",
        ] {
            for path in [
                "/api/v2/accounts/@AAA/@tagnnn",
                "",
                "?x=/api/v2/accounts/@BBB",
                "/../@tagnnn",
                "#/x",
                "//@tagnnn",
            ] {
                for host in ["old.test", "@own.cells.test", "@oth.cells.test", ""] {
                    let head = format!("GET {scheme}{authority}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                    all.push(Payload::new("absolute target", head));
                }
            }
        }
    }
}

/// Pieces that some readers take for a slash, a dot, nothing, or the end.
const TRICKS: [&str; 44] = [
    "/",
    "//",
    "/./",
    "/../",
    "/.../",
    "/x/../",
    "/%2e/",
    "/%2e%2e/",
    "/.%2e/",
    "/%252e%252e/",
    "%2f",
    "%2F",
    "%252f",
    "%5c",
    "\\",
    "/\\../",
    "/..\\",
    ";",
    ";x=y/",
    "/;/",
    "/..;/",
    "/.;/",
    "%3b",
    "%00",
    "%00/",
    "%0a",
    "%0d%0a",
    "%20",
    "%09",
    "+",
    "%u002f",
    "%c0%af",
    "%c0%ae%c0%ae/",
    "%e0%80%af",
    "%ef%bc%8f",
    "%2",
    "%",
    "%zz",
    "/%23",
    "/%3f",
    "?",
    "#",
    "&",
    "//../",
];

fn paths(all: &mut Vec<Payload>) {
    let mut push = |path: String| {
        for host in ["old.test", "@own.cells.test"] {
            all.push(Payload::new("path", format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")));
        }
    };
    for trick in TRICKS {
        push(format!("{trick}api/v2/accounts/@AAA/@tagnnn"));
        push(format!("/api{trick}v2/accounts/@AAA/@tagnnn"));
        push(format!("/api/v2{trick}accounts/@AAA/@tagnnn"));
        push(format!("/api/v2/accounts{trick}@AAA/@tagnnn"));
        push(format!("/api/v2/accounts/{trick}@AAA/@tagnnn"));
        push(format!("/api/v2/accounts/@AAA{trick}@tagnnn"));
        push(format!("/api/v2/accounts/@AAA{trick}/@BBB/@tagnnn"));
        push(format!("/api/v2/accounts/@AAA/@tagnnn{trick}@BBB"));
        push(format!("/api/v2/accounts/@AAA/{trick}{trick}@BBB/@tagnnn"));
        push(format!("/api/v2/accounts/@AAA/..{trick}@BBB/@tagnnn"));
        push(format!("/deploy/@AAA/@tagnnn{trick}..{trick}..{trick}@BBB"));
        push(format!("/x{trick}deploy/@AAA/@tagnnn"));
        push(format!("/api/v2/accounts/@BBB{trick}..{trick}@AAA/@tagnnn"));
        push(format!("/api/v3/accounts/@AAA?{trick}account_id=@AAA&@tagnnn"));
    }
    for path in [
        "/API/v2/accounts/@AAA/@tagnnn",
        "/api/V2/Accounts/@AAA/@tagnnn",
        "/Deploy/@AAA/@tagnnn",
        "/%61pi/v2/accounts/@AAA/@tagnnn",
        "/api/v2/account%73/@AAA/@tagnnn",
        "/deplo%79/@AAA/@tagnnn",
        "/api/v2/accounts/%40AAA/@tagnnn",
        "*",
        "api/v2/accounts/@AAA",
        "/api/v2/accounts/@AAA/api/v2/accounts/@BBB/@tagnnn",
        "/x/api/v2/accounts/@AAA/@tagnnn",
    ] {
        push(path.to_owned());
    }
}

/// Ids in spellings of other readers, and oversized ones.
fn ids(all: &mut Vec<Payload>) {
    let huge = "9".repeat(400);
    let ids = [
        "+@AAA",
        "-@AAA",
        "0@AAA",
        "000@AAA",
        "@AAA.0",
        "@AAAe0",
        "0x@AAA",
        "@AAA%20",
        "%20@AAA",
        "@AAA%00",
        "@AAA%0a",
        "@AAA,@BBB",
        "@AAA;@BBB",
        "@AAA|@BBB",
        "@AAA_",
        "1_001",
        "@AAAL",
        "\u{ff11}\u{ff10}\u{ff10}\u{ff11}",
        "%EF%BC%91",
        "\u{661}",
        "%31%30%30%31",
        "%2531",
        "18446744073709551616",
        "18446744073709552617",
        "-1",
        "0",
        "00",
        "9223372036854775808",
        "4294968297",
        "@AAA'",
        "\"@AAA\"",
        "(@AAA)",
        "[@AAA]",
        "{@AAA}",
        "@AAA*",
        "@AAA~",
        "null",
        "me",
        "self",
        "..",
        ".",
        "%2e%2e",
        huge.as_str(),
    ];
    for id in ids {
        for path in [
            "/api/v2/accounts/ID/@tagnnn",
            "/api/v3/accounts/ID",
            "/deploy/ID/@tagnnn",
            "/x?account_id=ID&@tagnnn",
        ] {
            for header in ["", "X-Account: @AAA\r\n", "X-Account: @BBB\r\n", "Cookie: account=@BBB\r\n"] {
                let path = path.replace("ID", id);
                let head = format!("GET {path} HTTP/1.1\r\nHost: old.test\r\n{header}\r\n");
                all.push(Payload::new("account id", head));
            }
        }
        let head = format!("GET /@tagnnn HTTP/1.1\r\nHost: old.test\r\nX-Account: {id}\r\n\r\n");
        all.push(Payload::new("account id", head));
    }
}

fn queries(all: &mut Vec<Payload>) {
    let queries = [
        "account_id=@AAA",
        "account_id=@BBB",
        "account_id=@AAA&account_id=@AAA",
        "account_id=@AAA&account_id=@BBB",
        "account_id=@BBB&account_id=@AAA",
        "account_id=@AAA;account_id=@BBB",
        "account%5fid=@BBB",
        "account_id=@AAA&account%5Fid=@BBB",
        "Account_Id=@BBB",
        "account_id[]=@BBB",
        "account_id%00=@BBB",
        "account_id=@AAA%26account_id=@BBB",
        "account_id=@AAA,@BBB",
        "account_id=%31001",
        "account_id",
        "account_id=",
        "account_id=&account_id=@BBB",
        "+account_id=@BBB",
        "account_id+=@BBB",
        "%61ccount_id=@BBB",
        "x?account_id=@BBB",
        "x#account_id=@BBB",
        "account_id==@BBB",
        "account_id=@AAA#@BBB",
        "&&account_id=@AAA&&",
        "account.id=@BBB",
        "account_id=@AAA&x=%0d%0aaccount_id=@BBB",
        "%2561ccount_id=@BBB",
        "a;b;account_id=@BBB",
    ];
    for query in queries {
        for path in [
            "/@tagnnn",
            "/api/v2/accounts/@AAA/@tagnnn",
            "/api/v2/accounts/@BBB/@tagnnn",
            "//@tagnnn",
            "/x/../@tagnnn",
        ] {
            for host in ["old.test", "@own.cells.test"] {
                for header in ["", "X-Account: @AAA\r\n", "X-Account: @BBB\r\n"] {
                    let head = format!("GET {path}?{query} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n");
                    all.push(Payload::new("query", head));
                }
            }
        }
    }
}

/// The header that names an account: doubled, listed, spelled otherwise.
fn headers(all: &mut Vec<Payload>) {
    for fields in [
        "X-Account: @AAA\r\nX-Account: @AAA\r\n",
        "X-Account: @AAA\r\nX-Account: @BBB\r\n",
        "X-Account: @BBB\r\nx-account: @AAA\r\n",
        "X-Account: @AAA, @BBB\r\n",
        "X-Account: @AAA,@AAA\r\n",
        "X_Account: @BBB\r\n",
        "X-Account: @AAA\r\nX_Account: @BBB\r\n",
        "X-Account:\r\n",
        "X-Account: \t@AAA\t\r\n",
        "X-Account: @AAA;@BBB\r\n",
        "X-Account : @BBB\r\n",
        "X-Account: @AAA\r\n @BBB\r\n",
        "X-Account\0: @BBB\r\n",
        "X-Account: @AAA\0\r\n",
        "Connection: X-Account\r\nX-Account: @AAA\r\n",
        "X-Account: @AAA\nX-Account: @BBB\r\n",
    ] {
        for target in [
            "/@tagnnn",
            "/api/v2/accounts/@AAA/@tagnnn",
            "/api/v2/accounts/@BBB/@tagnnn",
            "/x?account_id=@AAA&@tagnnn",
        ] {
            for host in ["old.test", "@own.cells.test", "@oth.cells.test"] {
                let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
                all.push(Payload::new("account header", head));
            }
        }
    }
}
