// SPDX-License-Identifier: Apache-2.0

//! The server: a frame of the parts that a process has.

use super::{
    chain::IndexedChain,
    document_summary,
    documents::{self, DataSearch},
    local::LocalTrainer,
    machine, metrics, parts,
    train::{self, Training},
};
use crate::control::Control;
use anyhow::Result;
use axum::Router;
use pol_api::{Access, ExpertMeasurements, Frame, Limits, Models, Scope, serve};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// A server that listens, and does not answer yet.
pub(crate) struct ApiServer {
    pub(super) listener: TcpListener,
    pub(super) access: Access,
    pub(super) origins: Vec<String>,
    pub(super) limits: Limits,
    pub(super) library: Option<PathBuf>,
}

/// Parts of the interface, beside those that every process has.
#[derive(Default)]
pub(crate) struct ApiParts {
    /// Handle of the process.
    pub(crate) control: Control,
    /// Model that makes texts.
    pub(crate) models: Option<Models>,
    /// Measurements of the experts of that model.
    pub(crate) experts: Option<ExpertMeasurements>,
    /// Chain and its past.
    pub(crate) chain: Option<IndexedChain>,
    /// Folder of ingested data, or one whose folders have such.
    pub(crate) data: Option<PathBuf>,
    /// Set if the process trains for the network.
    pub(crate) trains: bool,
}

/// A server that answers in a task of its own, so that its failure is not that of the process.
pub(crate) struct RunningApi {
    /// Address of the server.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
    closing: watch::Sender<bool>,
    local: LocalTrainer,
    chain: Option<IndexedChain>,
}

impl ApiServer {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// Fails if the system does not tell the address.
    pub(crate) fn start(self, parts: ApiParts) -> Result<RunningApi> {
        let Self { listener, access, origins, limits, library } = self;
        let ApiParts { control, models, experts, chain, data, trains } = parts;
        let address = listener.local_addr()?;
        let local = LocalTrainer::new(library.clone(), control.clone());
        let (closing, closed) = watch::channel(false);
        let described = parts::Parts {
            generation: models.is_some(),
            models: models.clone().unwrap_or_default(),
            chain: chain.is_some(),
            documents: data.is_some(),
            trains,
            local_training: local.is_there(),
        };
        tracing::info!("the HTTP interface is at http://{address}: {described}");
        let training = Training::new(control.clone(), local.clone(), trains, closed.clone());
        let start = chain.as_ref().map(|chain| Arc::new(chain.state.clone()) as _);
        let mut frame = Frame::new(access)
            .with_origins(origins)
            .with_library(models.clone().unwrap_or_default(), library, start)
            .with(Scope::Read, parts::routes(described))
            .with(Scope::Read, machine::routes(control))
            .with(Scope::Read, metrics::routes())
            .with(Scope::Read, train::read_routes(training.clone()))
            .with(Scope::Train, train::train_routes(training))
            .with_pages(pol_dashboard::routes());
        if let Some(models) = models {
            if let Some(experts) = experts {
                frame = frame.with_experts(models.clone(), experts);
            }
            frame = frame.with_models(models);
        }
        if let Some(chain) = &chain {
            frame = frame.with(Scope::Read, pol_chain_api::routes(chain.state.clone()));
        }
        if let Some(folder) = data {
            let chain = chain.as_ref().map(|chain| chain.state.clone());
            let data = DataSearch::new(folder, chain);
            frame = frame
                .with(Scope::Read, documents::routes(data.clone()))
                .with(Scope::Read, document_summary::routes(data));
        }
        let task = tokio::spawn(answer(listener, frame.build(), limits, closed));
        Ok(RunningApi { address, task, closing, local, chain })
    }
}

/// Answers until the server is `closed`.
async fn answer(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut closed: watch::Receiver<bool>,
) {
    // It ends too if the process lets go of the server.
    let stop = async { drop(closed.wait_for(|closed| *closed).await) };
    serve(listener, router, limits, stop).await;
}

impl RunningApi {
    /// Ends the server: streams of events end, and other answers under way are given.
    pub(crate) async fn end(self) {
        self.local.cancel();
        let _ = self.closing.send(true);
        if let Some(chain) = &self.chain {
            chain.state.end_streams();
        }
        if let Err(error) = self.task.await {
            tracing::warn!("the HTTP interface had failed: {error}");
        }
    }
}
