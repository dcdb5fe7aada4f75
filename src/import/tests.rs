//! Keys, files and whole maps, each with what becomes of it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::parse_accounts;

fn shapes() -> Shapes {
    let hosts = ["{prefix}.us1.dbt.com", "{prefix}.{surface}.us1.dbt.com"];
    let paths = ["/api/v2/accounts/{account}", "/api/v3/accounts/{account}", "/deploy/{account}"];
    Shapes {
        hosts: hosts.map(|host| host.parse().unwrap()).into(),
        paths: paths.map(|path| path.parse().unwrap()).into(),
    }
}

/// Ways as `named target@line`, and lines that were left.
fn said(read: &Read) -> (Vec<String>, Vec<u32>) {
    let ways = read.ways.iter().map(|way| format!("{} {}@{}", way.named, way.target, way.place.line));
    let mut left: Vec<u32> = read.left.iter().map(|left| left.place.line).collect();
    left.extend(read.otherwise.iter().map(|(left, _)| left.place.line));
    left.sort_unstable();
    (ways.collect(), left)
}

fn nginx(text: &str, variable: Option<&str>) -> Result<Read, NotRead> {
    let mut include = |name: &str| match name {
        "more.map" => Ok("1009 cell-1;\n1010 cell-9;".to_owned()),
        "again.map" => Ok("include again.map;".to_owned()),
        other => Err(format!("no {other}")),
    };
    nginx::read("nginx.conf", text, variable, &shapes(), &mut include)
}

fn paths(lines: &str) -> (Vec<String>, Vec<u32>) {
    said(&nginx(&format!("map $uri $backend {{\n{lines}\n}}"), None).unwrap())
}

#[test]
fn an_expression_names_an_account_where_it_is_all_of_its_paths_and_of_nobody_elses() {
    for (expression, ids) in [
        ("~^/api/v2/accounts/12345/", "12345"),
        ("~^/api/v2/accounts/12345(/|$)", "12345"),
        ("~^/api/v2/accounts/12345(?:/.*)?$", "12345"),
        ("~^/api/v[23]/accounts/12345/", "12345"),
        ("~^/api/(v2|v3)/accounts/(12345|26228)/", "12345 26228"),
        ("~^/api/v\\d+/accounts/12345/", "12345"),
        ("~^/api/[^/]+/accounts/12345(/|$)", "12345"),
        ("~/accounts/12345(/|$)", "12345"),
        ("~*^/API/v2/Accounts/12345/", "12345"),
        ("~^/(deploy|develop)/41007\\b", "41007"),
        ("~^/api/v2/accounts/12345/?", ""),
        ("~^/api/v2/accounts/12345", ""),
        ("~^/api/v2/accounts/1234[0-9]/", "12340 12341 12342 12343 12344 12345 12346 12347 12348 12349"),
        ("~^/api/v2/accounts/1\\d+/", ""),
        ("~^/api/v2/accounts/[0-9]+/", ""),
        ("~^/api/v2/accounts/12345/jobs", ""),
        ("~^/api/v2/accounts/12345/[^/]+$", ""),
        ("~^/api/v2/accounts/12345/.+", ""),
        ("~^/api/v2/accounts/12345$", ""),
        ("~^/api/v2/accounts/012345/", ""),
        ("~^/other/12345/", ""),
        ("~^/(?!api)/accounts/12345/", ""),
        ("~12345", ""),
        ("~.*", ""),
        ("/api/v2/accounts/12345/", ""),
    ] {
        let (ways, left) = paths(&format!("\"{expression}\" cell-2;"));
        let expected: Vec<String> =
            ids.split(' ').filter(|id| !id.is_empty()).map(|id| format!("account {id} cell-2@2")).collect();
        assert_eq!(ways, expected, "{expression}");
        assert_eq!(left.len(), usize::from(ids.is_empty()), "taken or left, never neither: {expression}");
    }
}

#[test]
fn what_stands_in_front_and_is_left_is_not_forgotten() {
    let text = "~^/api/v2/accounts/12\\d+/ cell-1;\n~^/api/v2/accounts/12345/ cell-2;\n~^/api/v2/accounts/99/ cell-3;";
    assert_eq!(paths(text), (vec!["account 99 cell-3@4".to_owned()], vec![2, 3]));
    let text = "~^/(?=api) cell-1;\n~^/api/v2/accounts/12345/ cell-2;";
    assert_eq!(paths(text), (vec![], vec![2, 3]), "who knows what it matches");
}

#[test]
fn a_map_of_nginx_is_read_as_nginx_does() {
    let text = r#"
# map $no $thing { 1 a; }
http {
    map $http_upgrade $connection { default upgrade; '' close; }
    map $host $backend {
        hostnames;
        default        shared;
        Acme.us1.dbt.com   cell-2;   # in any case
        "globex.metadata.us1.dbt.com" 'cell-1';
        *.us2.dbt.com  cell-9;
        .example.com   cell-9;
        hooli.*        cell-9;
        www.us1.dbt.com cell-9;
        cloud.getdbt.com cell-9;
        ~^(initech|acme)\.us1\.dbt\.com$ cell-2;
        ~^hooli\.us1\.dbt\.com$ cell-3;
        ~^x\d+\.us1\.dbt\.com$ cell-3;
        acme.us1.dbt.com $other;
        lonely;
    }
}"#;
    assert!(nginx(text, None).unwrap_err().to_string().contains("$connection in line 4, $backend in line 5"));
    let read = nginx(text, Some("$backend")).unwrap();
    let ways = ["acme cell-2@8", "globex cell-1@9", "acme cell-2@15", "initech cell-2@15"];
    assert_eq!(
        said(&read),
        (ways.map(|way| format!("prefix {way}")).into(), vec![7, 10, 11, 12, 13, 14, 16, 17, 18, 19])
    );

    let text = "map $http_x_account $backend {\n volatile;\n 12345 a;\n \\default b;\n include more.map;\n include no.map;\n 007 c;\n}";
    let read = nginx(text, None).unwrap();
    let ways = ["account 12345 a@3", "prefix default b@4", "account 1009 cell-1@1", "account 1010 cell-9@2"];
    assert_eq!(said(&read), (ways.map(str::to_owned).into(), vec![6, 7]));
    let loops = nginx("map $a $b { include again.map; }", None).unwrap();
    assert!(loops.left[0].why.contains("include each other"), "{loops:?}");
    for (text, expected) in [
        ("server { listen 80; }", "there is no map block"),
        ("map $a $b { 1 \"x; }", "never closed"),
        ("map $a $b { 1 x; } map", "ends in the middle"),
    ] {
        assert!(nginx(text, None).unwrap_err().to_string().contains(expected), "{text}");
    }
}

#[test]
fn a_map_file_of_haproxy_is_read_by_the_kind_of_its_keys() {
    let text = "# accounts\n12345   cell-2\nacme cell-2\n  globex.us1.dbt.com:443 cell-1\n/api/v2/accounts/26228/ cell-3\n\
                /api/v2/accounts/41007 cell-1\n^/api/v2/accounts/77(/|$) cell-1\nonly-a-key\n.us1.dbt.com cell-9\n\
                acme.us1.dbt.com/x cell-9\nsome.host.example cell-9\n";
    let read = haproxy::read("hosts.map", text, &shapes()).unwrap();
    let ways = [
        "account 12345 cell-2@2",
        "prefix acme cell-2@3",
        "prefix globex cell-1@4",
        "account 26228 cell-3@5",
        "account 77 cell-1@7",
    ];
    assert_eq!(said(&read), (ways.map(str::to_owned).into(), vec![6, 8, 9, 10, 11]));
    assert!(read.left[0].why.contains("ids that begin with 41007; end it with /"), "{:?}", read.left[0]);
    assert!(read.left[4].why.contains("--host '{prefix}.host.example'"), "{:?}", read.left[4]);
    let error = haproxy::read("haproxy.cfg", "global\n  maxconn 10\n", &shapes()).unwrap_err();
    assert!(error.to_string().contains("import the file that it names"), "{error}");
}

#[test]
fn virtual_hosts_of_envoy_are_read_wherever_they_stand() {
    let yaml = r#"
static_resources:
  listeners:
    - filter_chains:
        - route_config:
            virtual_hosts:
              - name: acme
                domains: ["acme.us1.dbt.com", "acme.us1.dbt.com:443"]
                routes:
                  - match: { prefix: "/" }
                    route: { cluster: cell-2 }
              - name: legacy
                domains: ["cloud.getdbt.com"]
                routes:
                  - match: { prefix: "/api/v2/accounts/12345/" }
                    route: { cluster: cell-2 }
                  - match: { path_separated_prefix: "/api/v2/accounts/26228" }
                    route: { cluster: cell-3 }
                  - match: { safe_regex: { regex: "/api/v[23]/accounts/(41007|41008)(/.*)?" } }
                    route: { cluster: cell-1 }
                  - match: { prefix: "/", headers: [{ name: x-account, string_match: { exact: "77" } }] }
                    route: { cluster: cell-1 }
                  - match: { prefix: "/api/v2/accounts/5/" }
                    redirect: { host_redirect: x }
                  - match: { prefix: "/api/v2/accounts/5/" }
                    route: { cluster: cell-1 }
                  - match: { path: "/api/v2/accounts/6/" }
                    route: { cluster: cell-1 }
                  - match: { prefix: "/api/v2/accounts/7/", query_parameters: [{ name: x }] }
                    route: { cluster: cell-1 }
                  - match: { prefix: "/api/v2/accounts/8/" }
                    route: { weighted_clusters: { clusters: [] } }
                  - match: { prefix: "/" }
                    route: { cluster: shared }
                  - match: { prefix: "/api/v2/accounts/9/" }
                    route: { cluster: cell-1 }
"#;
    let read = envoy::read("envoy.yaml", yaml, &shapes()).unwrap();
    let ways = [
        "prefix acme cell-2@8",
        "prefix acme cell-2@8",
        "account 12345 cell-2@15",
        "account 26228 cell-3@17",
        "account 41007 cell-1@19",
        "account 41008 cell-1@19",
        "account 77 cell-1@21",
    ];
    assert_eq!(said(&read), (ways.map(str::to_owned).into(), vec![13, 23, 25, 27, 29, 31, 35]));
    let json = r#"{"resources": [{"virtual_hosts": [{"domains": ["acme.us1.dbt.com"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "cell-2"}}]}]}]}"#;
    assert_eq!(said(&envoy::read("rds.json", json, &shapes()).unwrap()).0, ["prefix acme cell-2@1"]);
    for (text, expected) in [
        ("a: 1", "there is no virtual_hosts"),
        ("a: [", "not YAML"),
        ("a: &x 1\nb: *x", "an alias"),
        (&"[".repeat(1000), "deep"),
    ] {
        let error = envoy::read("x", text, &shapes()).unwrap_err().to_string();
        assert!(error.contains(expected) || error.contains("recursion"), "{text:.20}: {error}");
    }
}

fn listed(text: &str) -> Vec<list::Listed> {
    list::read("ids.csv", text, &[]).unwrap()
}

fn haproxy(text: &str) -> Read {
    haproxy::read("x.map", text, &shapes()).unwrap()
}

#[test]
fn prefixes_find_their_ids_and_what_is_not_named_goes_where_it_is_told() {
    let ids = listed("1,acme\n2,globex glx\n3,\n4,unnamed");
    let map = || haproxy("acme be_2\nglx cell-1\n3 cell-1\nnobody cell-1\nbad.name/x y\n");
    let cells: BTreeMap<String, String> = [("be_2".to_owned(), "cell-2".to_owned())].into();
    let known = Known { ids: Some((&ids, "ids.csv")), rest: Some("shared") };
    let joined = join(table(map(), &cells).unwrap(), known).unwrap();
    assert_eq!(
        joined.csv(),
        "account,prefixes,cell\n1,acme,cell-2\n2,globex glx,cell-1\n3,,cell-1\n4,unnamed,shared\n"
    );
    let left: Vec<(u32, &str)> =
        joined.left.iter().map(|left| (left.place.line, left.what.as_str())).collect();
    assert_eq!(left, [(4, "prefix nobody"), (5, "bad.name/x y")]);

    let joined = join(table(map(), &BTreeMap::new()).unwrap(), Known { ids: None, rest: None }).unwrap();
    assert_eq!(joined.csv(), "account,prefixes,cell\n3,,cell-1\n");
    let why: Vec<&str> = joined.left.iter().map(|left| left.why.as_str()).collect();
    assert!(why[0].contains("--cell 'be_2=cell-1'") && why[1].contains("--ids FILE"), "{why:?}");

    let default =
        || table(nginx("map $host $b { default shared; }", None).unwrap(), &BTreeMap::new()).unwrap();
    assert_eq!(join(default(), known).unwrap().left, [], "--rest is what the default says");
    let other = join(default(), Known { rest: Some("cell-1"), ..known }).unwrap_err();
    assert!(other[0].to_string().contains("names to shared, and --rest says cell-1"), "{other:?}");
    let renamed: BTreeMap<String, String> = [("shared".to_owned(), "cell-1".to_owned())].into();
    let renamed = table(nginx("map $host $b { default shared; }", None).unwrap(), &renamed).unwrap();
    assert_eq!(join(renamed, Known { rest: Some("cell-1"), ..known }).unwrap().left, []);
}

/// Of accounts 1 (acme), 2 (globex, glx), 3 (no prefix) and 26228 (hooli), those that get a row by the rest.
fn rest_of(read: Read) -> String {
    let ids = listed("1,acme\n2,globex glx\n3,\n26228,hooli");
    let known = Known { ids: Some((&ids, "ids.csv")), rest: Some("shared") };
    let joined = join(table(read, &BTreeMap::new()).unwrap(), known).unwrap();
    let without = joined.left.iter().filter(|left| left.why.contains("no row by --rest"));
    assert_eq!(without.count(), joined.without_rest);
    let rest = joined.rows.iter().filter(|(_, _, cell)| cell == "shared");
    rest.map(|(id, ..)| id.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn whom_a_line_that_is_left_may_lead_gets_no_row_by_the_rest() {
    for (line, rest) in [
        ("acme.us1.dbt.com cell-2;", "2 3 26228"),
        ("*.us1.dbt.com cell-3;", ""),
        (".us2.dbt.com cell-3;", ""),
        ("glx.* cell-3;", "1 3 26228"),
        ("~^x\\d+\\.us1\\.dbt\\.com$ cell-3;", ""),
        ("~^(acme|hooli)\\.us2\\.dbt\\.com$ cell-3;", "2"),
        ("acme.us1.dbt.com $other;", "2 3 26228"),
        ("~^acme\\.us1\\.dbt\\.com$ $other;", "2 3 26228"),
        ("globex.us2.dbt.com cell-3;", "1 26228"),
        // A prefix that nobody has may be that of the account whose prefix is not known.
        ("initech.us1.dbt.com cell-3;", "1 2 26228"),
        ("www.us1.dbt.com cell-3;", "1 2 3 26228"),
        ("acme.us1.dbt.com be_2;", "2 3 26228"),
        ("include gone.map;", ""),
        ("include gone.map; ~^acme\\.us1\\.dbt\\.com$ cell-2;", ""),
        ("one two three;", ""),
        ("'' cell-3;", "1 2 3 26228"),
    ] {
        let text = format!("map $host $b {{ hostnames; default shared; {line} }}");
        assert_eq!(rest_of(nginx(&text, None).unwrap()), rest, "{line}");
    }
    for (line, rest) in [
        ("~^/api/v2/accounts/26228(/|$) cell-3;", "1 2 3"),
        ("~^/api/v2/accounts/26228/jobs cell-3;", "1 2 3"),
        ("~^/api/v2/accounts/26228 cell-3;", ""),
        ("~^/api/v2/accounts/2\\d+/ cell-3;", ""),
        ("~^/api/ cell-3;", ""),
        ("~jobs cell-3;", ""),
        ("~^/(?!api) cell-3;", ""),
        ("/api/v2/accounts/26228/ cell-3;", "1 2 3"),
        ("/api/v2/accounts cell-3;", "1 2 3 26228"),
        ("~^/health cell-3;", "1 2 3 26228"),
        ("~^/a cell-3;", ""),
        ("~^/other/26228/ cell-3;", "1 2 3"),
        ("~^/other/[0-9]+/ cell-3;", ""),
        ("~^/static/.*$ cell-3;", "1 2 3 26228"),
    ] {
        let text = format!("map $uri $b {{ default shared; {line} }}");
        assert_eq!(rest_of(nginx(&text, None).unwrap()), rest, "{line}");
    }
    for (line, rest) in [
        ("acme.us2.dbt.com/api/v2/accounts/2/x cell-3", "26228"),
        ("/api/v2/accounts/26228 cell-3", ""),
        ("acme", "2 3 26228"),
        ("ACME cell-3", "2 3 26228"),
        ("^/api/v2/accounts/26228/jobs cell-3", "1 2 3"),
        (".us1.dbt.com/x cell-3", ""),
    ] {
        assert_eq!(rest_of(haproxy(line)), rest, "{line}");
    }
}

#[test]
fn what_envoy_leads_elsewhere_gets_no_row_by_the_rest() {
    for (route, rest) in [
        (r#"match: { prefix: "/api/v2/accounts/26228/" }, route: { cluster: be_3 }"#, "1 2 3"),
        (r#"match: { prefix: "/api/v2/accounts/26228/" }, route: { weighted_clusters: {} }"#, "1 2 3"),
        (r#"match: { prefix: "/api/v2/accounts/2/", headers: [{}] }, route: { cluster: c }"#, "1 3 26228"),
        (r#"match: { path: "/api/v2/accounts/2/" }, route: { cluster: c }"#, "1 3 26228"),
        (r#"match: { prefix: "/", headers: [{}, {}] }, route: { cluster: c }"#, ""),
        (r#"match: { prefix: "/" }, redirect: {}"#, ""),
        (r#"match: { connect_matcher: {} }, route: { cluster: c }"#, ""),
    ] {
        let own = r#"match: { prefix: "/api/v2/accounts/1/" }, route: { cluster: shared }"#;
        let all = r#"match: { prefix: "/" }, route: { cluster: shared }"#;
        let yaml = format!(
            "virtual_hosts:\n- domains: [cloud.getdbt.com]\n  routes: [{{{own}}}, {{{route}}}, {{{all}}}]\n"
        );
        let read = envoy::read("envoy.yaml", &yaml, &shapes()).unwrap();
        let expected = if rest.starts_with('1') { rest.to_owned() } else { format!("1 {rest}") };
        assert_eq!(rest_of(read), expected.trim(), "{route}");
    }
}

#[test]
fn what_is_said_to_be_added_can_be_added() {
    for (key, why) in [
        ("acme.us1.example.com", "add --host '{prefix}.us1.example.com'"),
        ("acme.us1.dbt.com.", "write it without"),
        ("acme\\.us1\\.example\\.com$", "it is no name of a host"),
        ("localhost", "no --host fits it"),
        ("", "no --host fits it"),
    ] {
        let said = shapes().host(key).unwrap_err().why;
        assert!(said.contains(why), "{key}: {said}");
        let added = said.split_once("--host '").and_then(|(_, rest)| rest.split_once('\''));
        assert!(added.is_none_or(|(pattern, _)| pattern.parse::<HostPattern>().is_ok()), "{said}");
    }
    assert!(Shapes::bare("").unwrap_err().why.contains("an empty value"));
    let mixed = nginx("map $host$uri $b { a b; }", None).unwrap_err().to_string();
    assert!(mixed.contains("nginx.conf:1: the map is over several variables"), "{mixed}");
}

#[test]
fn what_contradicts_itself_is_said_with_both_places() {
    let known = Known { ids: None, rest: None };
    let conflicts = table(haproxy("1 cell-1\n2 cell-1\n1 cell-2\n2 cell-1\n"), &BTreeMap::new()).unwrap_err();
    let said: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["account 1 leads to cell-1 in x.map:1 and to cell-2 in x.map:3; one of them must go"]);
    let ids = listed("1,acme");
    let read = table(haproxy("1 cell-1\nacme cell-2\n"), &BTreeMap::new()).unwrap();
    let conflicts = join(read.clone(), Known { ids: Some((&ids, "ids.csv")), ..known }).unwrap_err();
    let said: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["account 1 leads to cell-1 in x.map:1 and to cell-2 in x.map:2; one of them must go"]);
    assert!(join(read, known).is_ok(), "without the list nobody knows that they are the same");
}

#[test]
fn lists_are_read_in_the_forms_that_people_have() {
    let cells = ["cell-1", "cell-2"];
    for text in [
        "12345,acme,cell-2\n",
        "id,prefix,cell\n12345,acme,cell-2",
        "\u{feff}cell;x,ACCOUNT_ID,Prefix,Cell\r\nzzz,12345,acme,cell-2\r\n",
        "# list\n\n12345,cell-2,acme\n",
        "12345\tacme\tcell-2\n",
        "\"12345\",\"acme\", cell-2\n",
    ] {
        let [one]: [list::Listed; 1] = list::read("list", text, &cells).unwrap().try_into().unwrap();
        let (prefix, cell) = (one.prefixes[0].as_str(), one.cell.as_deref());
        assert_eq!((one.id.value(), prefix, cell), (12345, "acme", Some("cell-2")), "{text:?}");
    }
    assert_eq!(list::read("list", "1,cell-1\n2,cell-2", &cells).unwrap()[1].cell.as_deref(), Some("cell-2"));
    assert_eq!(listed("1\n2\n").len(), 2);
    let problems = list::read("list", "1,acme\nx,globex\n3,Bad\n1,www\n5,acme\n0,\n", &[]).unwrap_err();
    let expected = [
        "list:2: \"x\"",
        "list:3: \"Bad\"",
        "list:4: www is reserved",
        "list:6: \"0\"",
        "list:5: prefix acme",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem} {expected}");
    }
    for text in ["", "# nothing\n", "id,prefix\n", "acme,12345\n", "1,2,3,4\n"] {
        assert_eq!(list::read("list", text, &[]).unwrap_err().len(), 1, "{text:?}");
    }
}

proptest! {
    /// No text ends it, and every line of a map file is a way or is left.
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n\t{};\"'\\\\$]{0,400}", id in 1_u64..9_999) {
        let _ = nginx(&text, None);
        let _ = nginx(&format!("map $uri $b {{\n{text}\n}}"), None);
        let _ = envoy::read("x", &text, &shapes());
        let _ = list::read("x", &text, &[]);
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')).count();
        if let Ok(read) = haproxy::read("x", &format!("{id} a\n{text}"), &shapes()) {
            prop_assert_eq!(read.ways.len() + read.left.len(), lines + 1);
        }
    }

    /// What an expression is said to name, it matches; and what it names nobody of, it was left for.
    #[test]
    fn an_expression_matches_the_paths_of_whom_it_names(
        expression in "\\^?/(api|deploy|\\(api\\|x\\))/(v2|v3|v\\[23\\]|\\[\\^/\\]\\+|v\\.)/accounts/(1[0-9]|\\(12\\|1\\[34\\]\\)|1\\\\d|1\\.\\*)(/|\\(/\\|\\$\\)|\\\\b|\\$|/\\?|/jobs|/\\.\\*)?",
    ) {
        let named = shapes().path_expression(&expression, false);
        let regex = regex::bytes::Regex::new(&expression).unwrap();
        for id in 10_u64..20 {
            let id = AccountId::from_value(id).unwrap();
            let is_named = named.as_ref().is_ok_and(|named| named.contains(&Named::Account(id)));
            let all = ["/api/v2/accounts", "/api/v3/accounts"].map(|path| {
                let of = |rest: &str| regex.is_match(format!("{path}/{id}{rest}").as_bytes());
                (of("/") && of("/jobs/1/") && of("/x"), regex.is_match(format!("{path}/{id}0/").as_bytes()))
            });
            if is_named {
                prop_assert!(all.iter().any(|(whole, _)| *whole), "{} {}", expression, id);
                prop_assert!(all.iter().all(|(_, others)| !others), "{} {} and others", expression, id);
            }
        }
    }

    /// Whom a line that is left leads for a single path of theirs gets no row by the rest.
    #[test]
    fn no_path_of_the_rest_is_matched_by_a_line_that_is_left(
        expression in "\\^?/(api|a|deploy|\\(api\\|x\\)|ap\\.)(/(v2|v3|v\\[23\\]|\\[\\^/\\]\\+|v\\.)(/accounts(/(1[0-9]|\\(12\\|1\\[34\\]\\)|1\\\\d|1\\.\\*))?)?)?(/|\\(/\\|\\$\\)|\\\\b|\\$|/\\?|/jobs|/\\.\\*)?",
    ) {
        let ids = listed(&(10..20).map(|id| format!("{id}\n")).collect::<String>());
        let read = nginx(&format!("map $uri $b {{ default shared; \"~{expression}\" cell-2; }}"), None).unwrap();
        let known = Known { ids: Some((&ids, "ids")), rest: Some("shared") };
        let joined = join(table(read, &BTreeMap::new()).unwrap(), known).unwrap();
        let regex = regex::bytes::Regex::new(&expression).unwrap();
        for (id, _, cell) in joined.rows.iter().filter(|(_, _, cell)| cell == "shared") {
            for path in ["/api/v2/accounts", "/api/v3/accounts", "/deploy"] {
                for rest in ["", "/", "/jobs", "/jobs/1/", "/x"] {
                    let path = format!("{path}/{id}{rest}");
                    prop_assert!(!regex.is_match(path.as_bytes()), "{} {} {}", expression, path, cell);
                }
            }
        }
    }

    /// What is written is an account table.
    #[test]
    fn a_joined_table_is_one(rows in prop::collection::btree_map(1_u64..1_000_000, 0_usize..3, 1..50)) {
        let map: String = rows.iter().map(|(id, cell)| format!("{id} cell-{cell}\n")).collect();
        let ids: String = rows.keys().map(|id| format!("{id},p{id} q{id}\n")).collect();
        let ids = listed(&ids);
        let known = Known { ids: Some((&ids, "ids")), rest: None };
        let joined = join(table(haproxy(&map), &BTreeMap::new()).unwrap(), known).unwrap();
        let table = parse_accounts(joined.csv().as_bytes(), &["cell-0", "cell-1", "cell-2"], &[]).unwrap();
        prop_assert_eq!(table.len(), rows.len());
        for (id, cell) in rows {
            let account = table.by_id(AccountId::from_value(id).unwrap()).unwrap();
            prop_assert_eq!(usize::from(account.cell.0), cell);
        }
    }
}
