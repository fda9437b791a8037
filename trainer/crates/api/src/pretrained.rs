// SPDX-License-Identifier: Apache-2.0

//! `GET /pretrained-models`: models that can be imported, those that are here, and the one that the
//! network started from.

use crate::{
    engine::{ModelCard, Models},
    error::{ApiError, Problem},
};
use axum::{Json, extract::State};
use futures::future::BoxFuture;
use pol_import::{CheckpointFormat, ImportReport, SPEC_FILE, checkpoint_formats, describe};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Most entries of the library that are looked at.
const MAX_ENTRIES: usize = 1_000;

/// Longest wait for the start of the network. All else is known without its node.
const START_TIMEOUT: Duration = Duration::from_millis(500);

/// Models to import, imported ones, and the one that the network started from.
#[derive(Serialize, ToSchema)]
pub(crate) struct PretrainedModels {
    /// Formats of checkpoints that `pol-trainer model import` reads.
    formats: [Format; 2],
    /// The model that is served, if one is loaded.
    served: Option<ServedModel>,
    /// Models that it replaced, and that requests still get by their names; the newest one first.
    older: Vec<ServedModel>,
    /// Imported models in the library of this server.
    imported: Vec<Imported>,
    /// Start of the training of the network; null without one, while its node does not answer soon,
    /// and before it has a recipe.
    network: Option<NetworkStart>,
}

/// Model that makes texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ServedModel {
    /// Name under which requests get this model and no newer one.
    #[schema(example = "head@7d3a0c51")]
    id: String,
    #[serde(flatten)]
    card: ModelCard,
}

/// Format of checkpoints, with the families that can be imported from it.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Format {
    /// Name of the format.
    #[schema(example = "safetensors")]
    name: &'static str,
    /// Families, as files of the format name them: by `model_type` in `config.json`, or by
    /// `general.architecture` in a GGUF file.
    #[schema(example = json!(["gpt2", "llama"]))]
    families: Vec<&'static str>,
}

impl From<CheckpointFormat> for Format {
    fn from(CheckpointFormat { name, families }: CheckpointFormat) -> Self {
        Self { name, families }
    }
}

/// Start of the training of a network, which no later recipe changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NetworkStart {
    /// Name of the chain.
    #[schema(example = "POL Local")]
    pub chain: String,
    /// Hash of its first block.
    pub genesis: String,
    /// Root of the imported model that training started from; null if it started from drawn
    /// parameters.
    pub pretrained: Option<String>,
    /// Seed of drawn parameters.
    pub seed: String,
}

/// Source of the start of a network.
pub trait StartSource: Send + Sync {
    /// Returns the start of the network, if it is known now. Who waits longer than half a second
    /// gets none.
    fn start(&self) -> BoxFuture<'_, Option<NetworkStart>>;
}

/// Imported model.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Imported {
    /// Name of its folder.
    name: String,
    /// Root: BLAKE3 of the parameters, in hexadecimal digits behind `0x`.
    root: String,
    /// Family of the checkpoint.
    family: String,
    /// Format of the checkpoint.
    format: String,
    /// Number of parameters.
    parameters: u64,
    /// Longest sequence, in tokens.
    context: u32,
    /// Set if it has a tokenizer, without which it generates no text.
    tokenizer: bool,
    /// Number of adaptations since the import.
    adaptations: usize,
}

/// State of the endpoint.
#[derive(Clone)]
struct Library {
    models: Models,
    folder: Option<Arc<Path>>,
    start: Option<Arc<dyn StartSource>>,
}

/// Lists models that can be imported, those that are here, and the one that the network started
/// from.
#[utoipa::path(
    get,
    path = "/pretrained-models",
    tag = "Models",
    responses(
        (status = 200, body = PretrainedModels),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn list(State(library): State<Library>) -> Result<Json<PretrainedModels>, ApiError> {
    let imported = match library.folder {
        Some(folder) => tokio::task::spawn_blocking(move || scan(&folder))
            .await
            .map_err(|error| ApiError::Internal(error.to_string()))?
            .map_err(|error| ApiError::Internal(format!("cannot read the library: {error}")))?,
        None => Vec::new(),
    };
    let engines = library.models.all();
    let mut models = engines.iter().map(|engine| {
        let card = engine.card().clone();
        ServedModel { id: card.id(), card }
    });
    let (served, older) = (models.next(), models.collect());
    let network = match library.start {
        Some(source) => timeout(START_TIMEOUT, source.start()).await.ok().flatten(),
        None => None,
    };
    let formats = checkpoint_formats().map(Format::from);
    Ok(Json(PretrainedModels { formats, served, older, imported, network }))
}

/// Returns the imported models among the folders in `library`, by name.
fn scan(library: &Path) -> io::Result<Vec<Imported>> {
    let folders: Vec<PathBuf> =
        fs::read_dir(library)?.take(MAX_ENTRIES).flatten().map(|entry| entry.path()).collect();
    let folders = folders.into_iter().filter(|folder| folder.join(SPEC_FILE).is_file());
    let mut found: Vec<Imported> = folders
        .filter_map(|folder| {
            let name = folder.file_name()?.to_str()?.to_owned();
            // A folder that is being written, or damaged, is none that can be used.
            let (spec, report) = describe(&folder).ok()?;
            Some(imported(name, spec.context, report))
        })
        .collect();
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn imported(name: String, context: u32, report: ImportReport) -> Imported {
    Imported {
        name,
        root: format!("0x{}", hex::encode(report.root)),
        family: report.family,
        format: report.format,
        parameters: report.parameters,
        context,
        tokenizer: report.tokenizer.is_some(),
        adaptations: report.adapted.len(),
    }
}

/// Returns the endpoint, which lists the models in the folder `library`, and knows the start of the
/// network from `start`.
pub(crate) fn routes(
    models: Models,
    library: Option<PathBuf>,
    start: Option<Arc<dyn StartSource>>,
) -> OpenApiRouter {
    let library = Library { models, folder: library.map(Into::into), start };
    OpenApiRouter::new().routes(routes!(list)).with_state(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_begin_with_0x() {
        let report = ImportReport { root: [0xab; 32], ..ImportReport::default() };
        assert_eq!(imported("m".into(), 8, report).root, format!("0x{}", "ab".repeat(32)));
    }
}
