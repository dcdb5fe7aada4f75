//! Puts beside each client of an account what its owner has to change, with the account's own address in it. What to
//! change stands in `clients.yaml`; the address is that of the configuration now, not of the time when it was counted.

use crate::policy::address::own_address;
use crate::policy::client::Fix;
use crate::policy::ids::{AccountId, SurfaceIndex};
use crate::policy::snapshot::Snapshot;

use super::fleet::Fleet;
use super::report::{AccountUsage, Report};

/// What the owner of a client has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Why it calls the legacy host.
    pub why: Option<String>,
    /// What to set, and where.
    pub how: String,
}

/// Completes a report. A client without a recipe, and an account without an address of its own, have none.
pub fn add(report: &mut Report, snapshot: &Snapshot) {
    for account in &mut report.accounts {
        add_to(account, snapshot);
    }
}

/// Completes a fleet: addresses of accounts, and what the owners of clients change. In what many accounts have in common the
/// address stays a placeholder.
pub fn add_to_fleet(fleet: &mut Fleet, snapshot: &Snapshot) {
    let fix = |client: &str| {
        let family = snapshot.clients.iter().find(|family| *family.name == *client);
        family.and_then(|family| family.fix.as_ref())
    };
    let recipe =
        |fix: &Fix, host: &str| Recipe { why: fix.why.as_deref().map(str::to_owned), how: fix.how_to(host) };
    for mover in fleet.clients.iter_mut().chain(&mut fleet.integrations) {
        let client = mover.name.split(", ").next().unwrap_or_default();
        mover.recipe = fix(client).map(|fix| recipe(fix, "{host}"));
    }
    for account in &mut fleet.accounts {
        let row = AccountId::from_value(account.account).and_then(|id| snapshot.accounts.by_id(id));
        let Some(row) = row else { continue };
        // The first surface is the product itself; who calls another one finds it beside this address.
        account.address = own_address(snapshot, row, SurfaceIndex(0)).map(|address| address.to_string());
        for integration in &mut account.details {
            let surface = |name: &String| surface_of(snapshot, name);
            let surface = integration.endpoints.iter().find_map(surface).unwrap_or(SurfaceIndex(0));
            let address = own_address(snapshot, row, surface).map(|address| address.to_string());
            integration.recipe = fix(&integration.client).zip(address).map(|(fix, host)| recipe(fix, &host));
        }
    }
}

fn surface_of(snapshot: &Snapshot, name: &str) -> Option<SurfaceIndex> {
    let at = snapshot.surfaces.iter().position(|surface| surface.name.as_str() == name)?;
    u8::try_from(at).ok().map(SurfaceIndex)
}

fn add_to(account: &mut AccountUsage, snapshot: &Snapshot) {
    let row = AccountId::from_value(account.account).and_then(|id| snapshot.accounts.by_id(id));
    let Some(row) = row else { return };
    for client in &mut account.usage.clients {
        let family = snapshot.clients.iter().find(|family| *family.name == *client.client);
        let surface = surface_of(snapshot, &client.surface);
        let address = surface.and_then(|surface| own_address(snapshot, row, surface));
        client.recipe = family.and_then(|family| family.fix.as_ref()).zip(address).map(|(fix, address)| {
            Recipe { why: fix.why.as_deref().map(str::to_owned), how: fix.how_to(&address.to_string()) }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::made_up::made_up;
    use super::super::render::tests::full;
    use super::*;
    use crate::policy::client::ClientFamily;

    #[test]
    fn a_recipe_has_the_accounts_own_address_on_that_surface() {
        let mut snapshot = crate::test_snapshot::example().build();
        let fix =
            Fix { why: Some("it has no host".into()), how: "set Host to {host}, and {host} again".into() };
        let surface = snapshot.surfaces[1].name.to_string();
        snapshot.clients.push(ClientFamily { name: "airflow".into(), matches: Vec::new(), fix: Some(fix) });
        let mut report = full();
        report.accounts[0].account = 12_345;
        let clients = &mut report.accounts[0].usage.clients;
        (clients[0].surface, clients[2].surface) = (snapshot.surfaces[0].name.to_string(), surface.clone());
        add(&mut report, &snapshot);
        let recipe =
            |account: usize, client: usize| report.accounts[account].usage.clients[client].recipe.clone();
        let how = |host: &str| format!("set Host to {host}, and {host} again");
        let [app, other] = [0, 2].map(|client| recipe(0, client).unwrap());
        assert_eq!((app.why.as_deref(), app.how), (Some("it has no host"), how("mx789.us1.dbt.com")));
        assert_eq!(other.how, how(&format!("mx789.{surface}.us1.dbt.com")));
        // curl has none, and account 5 no row.
        assert_eq!((recipe(0, 1), recipe(1, 0)), (None, None));
    }

    #[test]
    fn a_fleet_has_addresses_and_what_many_have_in_common_has_a_placeholder() {
        let mut snapshot = crate::test_snapshot::example().build();
        let fix = Fix { why: None, how: "set Host to {host}".into() };
        let mut fleet = made_up(3);
        fleet.accounts[0].account = 12_345;
        let client = fleet.accounts[0].details[0].client.clone();
        snapshot.clients.push(ClientFamily { name: (*client).into(), matches: Vec::new(), fix: Some(fix) });
        let surface = snapshot.surfaces[1].name.to_string();
        fleet.accounts[0].details[0].endpoints = vec!["trigger".into(), surface.clone()];
        fleet.integrations[0].name = format!("{client}, trigger");
        add_to_fleet(&mut fleet, &snapshot);
        assert_eq!(fleet.accounts[0].address.as_deref(), Some("mx789.us1.dbt.com"));
        let how = |recipe: &Option<Recipe>| recipe.as_ref().unwrap().how.clone();
        let own = how(&fleet.accounts[0].details[0].recipe);
        assert_eq!(own, format!("set Host to mx789.{surface}.us1.dbt.com"));
        assert_eq!(how(&fleet.integrations[0].recipe), "set Host to {host}");
    }
}
