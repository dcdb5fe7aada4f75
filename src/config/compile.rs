//! From a configuration to the next snapshot. Cannot fail: everything that can is behind it, in
//! [`parse`](super::parse).

use std::collections::HashMap;
use std::sync::Arc;

use super::routing::Config;
use crate::policy::accounts::AccountTable;
use crate::policy::certificates::CertificateTable;
use crate::policy::extension::Extensions;
use crate::policy::hosts::HostTable;
use crate::policy::ids::{Generation, Label, SurfaceIndex};
use crate::policy::snapshot::{Cell, EndpointKey, Group, IdRange, Snapshot};

/// The next snapshot. What must outlive a reload is carried over from `previous` by name: the live counters
/// of cells, and TLS towards cells whose trust did not change, so that sessions resume. Takes the
/// configuration by value, because a table of millions must not be there twice.
pub fn compile(config: Config, previous: Option<&Snapshot>) -> Snapshot {
    let surfaces =
        config.surfaces.iter().map(|surface| surface.name.clone()).zip((0..).map(SurfaceIndex)).collect();
    let hosts = config.hosts.into_iter().map(|host| (host.labels, host.name, host.rule));
    let mut identify = config.identify;
    enable_ranges(&mut identify.id_ranges, &config.accounts);
    let mut cells = config.cells;
    if let Some(previous) = previous {
        carry_over(&mut cells, previous);
    }
    Snapshot {
        generation: previous.map_or(Generation::default(), |previous| previous.generation).next(),
        hash: config.hash,
        rest: config.rest,
        settings: config.settings,
        hosts: HostTable::new(hosts, surfaces),
        surfaces: config.surfaces,
        cells,
        protection: config.protection,
        accounts: config.accounts,
        environments: config.environments,
        moves: config.moves,
        extensions: Extensions::new(config.extensions, &config.schedules),
        brownouts: config.brownouts,
        schedules: config.schedules,
        identify,
        clients: config.clients,
        limits: config.limits,
        endpoint_classes: config.endpoint_classes,
        trusted_proxies: config.trusted_proxies,
        server_timing: config.server_timing,
        guide: config.guide,
        redirect_exceptions: config.redirect_exceptions,
        cors_origins: config.cors_origins,
        certificates: CertificateTable::new(config.certificates),
        tickets: config.client_tls.tickets,
        warn_before: config.client_tls.warn_before,
    }
}

/// What outlives a reload goes to the cell of the same name: counters, and the TLS sessions of endpoints
/// that are trusted as before.
fn carry_over(cells: &mut [Cell], previous: &Snapshot) {
    let before: HashMap<&Label, &Cell> = previous.cells.iter().map(|cell| (&cell.name, cell)).collect();
    for cell in cells {
        let Some(before) = before.get(&cell.name) else { continue };
        cell.load = Arc::clone(&before.load);
        for group in &mut cell.groups {
            if let Some(before) = before.groups.iter().find(|before| before.zone == group.zone) {
                carry_over_group(group, before);
            }
        }
        // The key of an endpoint says all that decides about trust: where one is the same, so is that.
        let same_trust = keys(cell).any(|key| keys(before).any(|old| old == key));
        if let (Some(tls), Some(old), true) = (&mut cell.tls, &before.tls, same_trust) {
            tls.http1 = Arc::clone(&old.http1);
            tls.http2 = Arc::clone(&old.http2);
        }
    }
}

/// The counters of a group go to the one in the same zone.
fn carry_over_group(group: &mut Group, before: &Group) {
    group.requests.permits = Arc::clone(&before.requests.permits);
    group.load = Arc::clone(&before.load);
    let Some(connections) = before.endpoints.first().map(|endpoint| &endpoint.connections.permits) else {
        return;
    };
    for endpoint in &mut group.endpoints {
        endpoint.connections.permits = Arc::clone(connections);
        // What is known of an address whose trust has changed is known of somebody else.
        if let Some(before) = before.endpoints.iter().find(|before| before.key == endpoint.key) {
            endpoint.load = Arc::clone(&before.load);
        }
    }
}

fn keys(cell: &Cell) -> impl Iterator<Item = &EndpointKey> {
    cell.endpoints().map(|endpoint| &endpoint.key)
}

/// A range names its cell only while every account born in it lives there.
fn enable_ranges(ranges: &mut [IdRange], accounts: &AccountTable) {
    for range in ranges.iter_mut() {
        range.enabled = true;
    }
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|index| ranges[*index].first);
    for account in accounts.iter() {
        let id = account.id.value();
        let after = order.partition_point(|index| ranges[*index].first <= id);
        let Some(index) = after.checked_sub(1).map(|at| order[at]) else { continue };
        let range = &mut ranges[index];
        if id <= range.last && range.cell != account.cell {
            range.enabled = false;
        }
    }
}
