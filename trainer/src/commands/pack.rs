// SPDX-License-Identifier: Apache-2.0

//! Packed parameters beside an imported model, from which generation starts at once.

use super::decoder::thread_count;
use anyhow::{Context, Result};
use clap::Args;
use pol_generate::{NativeModel, PACKED_FILE};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Options of `model pack`.
#[derive(Args)]
pub(crate) struct PackOptions {
    /// Folder made by `model import` or `model adapt`.
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Packs a model and prints the result.
pub(crate) fn run(options: &PackOptions) -> Result<()> {
    let start = Instant::now();
    let bytes = pack(&options.model)?.context(
        "this model or processor needs the decoder of libtorch, which takes no packed parameters; \
         nothing was written",
    )?;
    let (file, seconds) = (options.model.join(PACKED_FILE), start.elapsed().as_secs_f64());
    if options.json {
        println!("{}", json!({ "file": file, "bytes": bytes, "seconds": seconds }));
    } else {
        println!("wrote {bytes} bytes to {} in {seconds:.1} s", file.display());
    }
    Ok(())
}

/// Writes packed parameters into the folder of an imported model. Returns the number of their
/// bytes; `None` if the model needs a decoder that takes none.
pub(crate) fn pack(folder: &Path) -> Result<Option<u64>> {
    let mut model = pol_import::open(folder)?;
    let (spec, root, path) = (model.spec, model.report.root, folder.join(PACKED_FILE));
    if !NativeModel::supports(&spec) {
        return Ok(None);
    }
    let read = |values: &mut [f32]| -> Result<()> { Ok(model.read(values)?) };
    NativeModel::write_packed(&spec, &root, thread_count(None)?, read, &path)?;
    Ok(Some(fs::metadata(&path)?.len()))
}
