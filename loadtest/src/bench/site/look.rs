//! Requests that a contestant must answer rightly: when it starts, and to see which table it uses.

use super::{Kind, Running, Site, SiteError};
use crate::ask::Ask;
use crate::bench::table::{CELL_HEADER, DOMAIN, Edition, LEGACY_HOST, Table};
use crate::client::{Client, Http};
use crate::tls::ClientTls;

/// One request that must come through, about the first account, on a connection of its own.
pub(super) struct Look {
    client: Client,
    ask: Ask,
    /// Who must answer; any answer will do where nothing is said.
    cell: Option<String>,
    is_legacy: bool,
}

impl Look {
    /// One of each kind, without and with TLS.
    pub(super) fn each(running: &Running, site: &Site) -> Result<Vec<Self>, SiteError> {
        let mut clients = vec![Client::new(running.plain, Http::H1)];
        if let Some(tls) = running.tls {
            clients.push(Client::tls(tls, Http::H1, &ClientTls::trusting(&site.certificate.ca_pem))?);
        }
        let legacy = Ask::get(LEGACY_HOST, &format!("/api/v2/accounts/{}/jobs/?limit=10", site.table.id(0)));
        let cell = cell(running.kind, site, Edition::First);
        let look = |client: &Client, ask: &Ask, is_legacy| Self {
            client: client.clone(),
            ask: ask.clone(),
            cell: cell.clone(),
            is_legacy,
        };
        let both = |client| [look(client, &own(site.table), false), look(client, &legacy, true)];
        Ok(clients.iter().flat_map(both).collect())
    }

    /// One that is answered by another cell in each edition of the table.
    pub(super) fn at(edition: Edition, running: &Running, site: &Site) -> Self {
        Self {
            client: Client::new(running.plain, Http::H1),
            ask: own(site.table),
            cell: cell(running.kind, site, edition),
            is_legacy: false,
        }
    }

    /// Sends it.
    ///
    /// # Errors
    /// What came of it, where that is not the right answer.
    pub(super) async fn took(&self) -> Result<(), String> {
        let reply = self.client.ask(&self.ask).await.map_err(|error| error.to_string())?;
        let Some(cell) = &self.cell else { return Ok(()) };
        let found = (reply.status.as_u16(), reply.header(CELL_HEADER), reply.header("deprecation").is_some());
        match found == (200, Some(cell.as_str()), self.is_legacy) {
            true => Ok(()),
            false => Err(format!(
                "{}{} brought status, cell and deprecation {found:?}",
                self.ask.host, self.ask.path
            )),
        }
    }
}

fn own(table: Table) -> Ask {
    Ask::get(&format!("{}.{DOMAIN}", table.prefix(0)), "/")
}

/// Who has the first account. A relay does not know, and gRPC cells do not say.
fn cell(kind: Kind, site: &Site, edition: Edition) -> Option<String> {
    (kind.routes() && !site.grpc).then(|| Table::cell_name(site.table.cell_in(edition, 0)))
}
