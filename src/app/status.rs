//! The status: what it is configured with, and who looks.

use std::sync::Arc;

use anyhow::Context;

use super::{Shared, source};
use crate::config::Boot;
use crate::status::{Keeper, Memory, Post, PublicNames, StatusSettings, Watched};
use crate::webhooks::Target;

impl Shared {
    /// Who looks, and has not begun.
    pub(super) fn status_keeper(&self) -> anyhow::Result<Keeper> {
        let watched = Watched {
            live: source(&self.live),
            levers: Arc::clone(&self.levers),
            metrics: Arc::clone(&self.metrics),
        };
        let (settings, post) = (settings(&self.boot), post(&self.boot)?);
        let memory = Memory::new(self.boot.state_dir.clone(), Arc::clone(&self.state));
        let keeper = Keeper::new(watched, settings, Arc::clone(&self.status), post, memory);
        keeper.context("starting the threads of the status")
    }
}

fn settings(boot: &Boot) -> StatusSettings {
    let status = &boot.status;
    let names = PublicNames {
        cells: status.cells.clone(),
        surfaces: status.surfaces.clone(),
        internal: status.internal_names,
    };
    StatusSettings { title: status.title.clone(), names, folder: status.publish.clone() }
}

/// Where changes are told. A secret that cannot be used is found now, and not when something has happened.
fn post(boot: &Boot) -> anyhow::Result<Option<Post>> {
    let Some(webhook) = &boot.status.webhook else { return Ok(None) };
    let target = Target::parse(&webhook.url, false).context("status.webhook.url of boot.yaml")?;
    let (secret_file, ca_file) = (webhook.secret_file.clone(), webhook.ca_file.clone());
    let post = Post { target: Arc::new(target), secret_file, ca_file };
    post.check().map_err(anyhow::Error::msg).context("status.webhook of boot.yaml")?;
    Ok(Some(post))
}
