//! Where a listener that sends everything to HTTPS sends a request.

use cellgate::policy::refusal::Refusal;
use cellgate::policy::secure;

use crate::snapshot::{Request, example};

#[test]
fn the_same_resource_on_a_host_of_the_configuration_and_nowhere_else() {
    let snapshot = example().build();
    let check = |line: &str, port: u16, expect: Result<&str, Refusal>| {
        let location = Request::new(line).read(&snapshot, |facts| secure::location(&snapshot, facts, port));
        assert_eq!(location.expect("the gate lets it through"), expect.map(str::to_owned), "{line} {port}");
    };
    let path = "/api/v2/accounts/12345/?a=[1]";
    let url = "https://cloud.getdbt.com/api/v2/accounts/12345/?a=[1]";
    check(&format!("POST cloud.getdbt.com{path}"), 443, Ok(url));
    check(&format!("GET Cloud.GetDBT.com:8080{path}"), 443, Ok(url));
    check("GET ab123.us1.dbt.com/", 8443, Ok("https://ab123.us1.dbt.com:8443/"));
    check("GET evil.example/", 443, Err(Refusal::Misdirected));
    // Behind the fixed beginning of the URL, nothing in the path can name another host.
    check("GET cloud.getdbt.com//evil.example/", 443, Ok("https://cloud.getdbt.com//evil.example/"));
}
