//! Puts beside each client of an account what its owner has to change, with the account's own address in it. What to
//! change stands in `clients.yaml`; the address is that of the configuration now, not of the time when it was counted.

use crate::policy::address::own_address;
use crate::policy::ids::{AccountId, SurfaceIndex};
use crate::policy::snapshot::Snapshot;

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

fn add_to(account: &mut AccountUsage, snapshot: &Snapshot) {
    let row = AccountId::from_value(account.account).and_then(|id| snapshot.accounts.by_id(id));
    let Some(row) = row else { return };
    for client in &mut account.usage.clients {
        let family = snapshot.clients.iter().find(|family| *family.name == *client.client);
        let surface = snapshot.surfaces.iter().position(|surface| surface.name.as_str() == client.surface);
        let surface = surface.and_then(|at| u8::try_from(at).ok()).map(SurfaceIndex);
        let address = surface.and_then(|surface| own_address(snapshot, row, surface));
        client.recipe = family.and_then(|family| family.fix.as_ref()).zip(address).map(|(fix, address)| {
            Recipe { why: fix.why.as_deref().map(str::to_owned), how: fix.how_to(&address.to_string()) }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::render::tests::full;
    use super::*;
    use crate::policy::client::{ClientFamily, Fix};

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
}
