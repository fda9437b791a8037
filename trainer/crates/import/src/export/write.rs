// SPDX-License-Identifier: Apache-2.0

//! Writing of exports, one tensor at a time.

use super::{
    gguf, hf,
    source::ExportSource,
    subject::{Subject, refuse_own_parts},
    tokenizer,
};
use crate::{
    ImportError,
    files::{
        Encoding,
        gguf::{
            Value,
            writer::{ALIGNMENT, Header},
        },
        safetensors,
    },
    folder::{create_parent, io_error, write_file, write_folder, write_json},
    mapping::{Embeddings, ExportPlan, TensorPiece},
    source_files::{CONFIG_FILE, TOKENIZER_CONFIG_FILE, WEIGHTS_FILE},
};
use indicatif::ProgressBar;
use pol_data::TOKENIZER_FILE;
use pol_primitives::{
    Hash,
    model::{Activation, Norm},
};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A folder as transformers reads it.
    HuggingFace,
    /// A file as llama.cpp reads it.
    Gguf,
}

/// Type of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportType {
    /// Single precision, which loses nothing.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32 values of 8 bits with a scale, in GGUF.
    Q8_0,
}

impl ExportType {
    const fn encoding(self) -> Encoding {
        match self {
            Self::F32 => Encoding::F32,
            Self::F16 => Encoding::F16,
            Self::Bf16 => Encoding::Bf16,
            Self::Q8_0 => Encoding::Q8_0,
        }
    }

    /// Returns the number of the type of a file in GGUF.
    const fn file_type(self) -> i128 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }

    /// Returns the encoding of a tensor in GGUF. Vectors and positions stay float32, as llama.cpp
    /// needs them.
    fn of_tensor(self, name: &str, shape: &[u64]) -> Encoding {
        let row = shape.last().copied().unwrap_or(1);
        match self.encoding() {
            _ if shape.len() < 2 || name == "position_embd.weight" => Encoding::F32,
            Encoding::Q8_0 if !row.is_multiple_of(Encoding::Q8_0.block().0) => Encoding::F16,
            encoding => encoding,
        }
    }
}

/// Report of an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExportReport {
    /// Family in whose terms the model is written.
    pub family: String,
    /// Root of the model.
    #[serde(with = "pol_primitives::hex_hash")]
    pub root: Hash,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of bytes of all weights.
    pub bytes: u64,
    /// Number of values that are not exactly those of the model.
    pub rounded: u64,
    /// Number of values other than 0 that became 0.
    pub zeroed: u64,
    /// Largest change of a value.
    pub largest_change: f32,
    /// Tensor of that value.
    pub largest_in: Option<String>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Writes the model `source` to `out`, whole or not at all: a folder or a file, by `format`. `bar`
/// advances by one with each tensor.
///
/// Memory holds the largest tensor a few times, and two tensors of the vocabulary where a family
/// has them as one.
///
/// # Errors
///
/// Fails if `out` exists and is not empty, if no family of the format expresses the model or its
/// tokenizer, if a value is not finite or beyond the type, or if a file cannot be read or written.
pub fn export(
    source: &ExportSource,
    out: &Path,
    format: ExportFormat,
    kind: ExportType,
    bar: &ProgressBar,
) -> Result<ExportReport, ImportError> {
    check_output(out, format)?;
    refuse_own_parts(&source.spec)?;
    let subject = Subject::new(&source.spec, is_multiple(source)?);
    match format {
        ExportFormat::HuggingFace => write_hf(source, &subject, out, kind, bar),
        ExportFormat::Gguf => write_gguf(source, &subject, out, kind, bar),
    }
}

/// Checks that there is nothing at `out` but, at most, an empty folder or file.
fn check_output(out: &Path, format: ExportFormat) -> Result<(), ImportError> {
    let is_free = match (out.symlink_metadata(), format) {
        (Err(_), _) => true,
        (Ok(_), ExportFormat::HuggingFace) => {
            fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none())
        }
        (Ok(found), ExportFormat::Gguf) => found.is_file() && found.len() == 0,
    };
    if is_free { Ok(()) } else { Err(ImportError::OutputExists(out.to_owned())) }
}

/// Returns `true` if the embedding is the output projection times the square root of the width, as
/// in an imported Gemma.
fn is_multiple(source: &ExportSource) -> Result<bool, ImportError> {
    let spec = &source.spec;
    let may_be = !spec.tied
        && !spec.biases.head
        && spec.gated
        && spec.activation == Activation::GeluTanh
        && matches!(spec.norm, Norm::Rms { .. });
    if !may_be {
        return Ok(false);
    }
    let factor = f64::from(spec.width).sqrt() as f32;
    let parameters = spec.parameters();
    let head = parameters.iter().position(|parameter| parameter.name == "lm_head.weight");
    let Some(head) = head else { return Ok(false) };
    let (embedding, head) = (source.tensor(0)?, source.tensor(head)?);
    Ok(embedding.iter().zip(&head).all(|(embedding, head)| *embedding == head * factor))
}

fn write_hf(
    source: &ExportSource,
    subject: &Subject,
    out: &Path,
    kind: ExportType,
    bar: &ProgressBar,
) -> Result<ExportReport, ImportError> {
    let encoding = kind.encoding();
    if encoding.is_quantised() {
        return Err(ImportError::Inexpressible {
            reason: format!("no place for {encoding} in safetensors"),
            advice: "export it as f32, f16, or bf16, or with --format gguf".to_owned(),
        });
    }
    let model = hf::describe(subject)?;
    let mut config = model.config;
    let name = match kind {
        ExportType::F16 => "float16",
        ExportType::Bf16 => "bfloat16",
        ExportType::F32 | ExportType::Q8_0 => "float32",
    };
    config.insert("torch_dtype".into(), name.into());
    hf::add_tokens(&mut config, &source.special);
    let mut writer = Writer::new(source, bar, model.family, model.embeddings);
    write_folder(out, ".export-", |folder| {
        write_json(&folder.join(CONFIG_FILE), &config)?;
        if !source.special.end.is_empty() {
            let generation = hf::generation_config(&source.special);
            write_json(&folder.join("generation_config.json"), &generation)?;
        }
        if let Some(json) = &source.tokenizer {
            write_file(&folder.join(TOKENIZER_FILE), json)?;
            let tokenizer = pol_data::Tokenizer::from_json(json).ok();
            let token = |id| tokenizer.as_ref()?.inner().id_to_token(id);
            let described = hf::tokenizer_config(&source.special, subject.spec.context, token);
            write_json(&folder.join(TOKENIZER_CONFIG_FILE), &described)?;
        } else {
            writer.report.notes.push("it has no tokenizer, so texts cannot be encoded".into());
        }
        let path = folder.join(WEIGHTS_FILE);
        let file = File::create(&path).map_err(io_error("create", &path))?;
        let tensors = model.plan.tensors();
        let tensors = tensors.map(|it| (it.name.as_str(), it.shape.as_slice(), encoding));
        let header = safetensors::header(tensors, 0);
        let mut output = Output { path, file: BufWriter::new(file) };
        output.write(&header)?;
        writer.tensors(&model.plan, |piece, values, writer| {
            writer.encode(piece, &values, encoding, &mut output)
        })?;
        output.finish()?;
        Ok(writer.report)
    })
}

fn write_gguf(
    source: &ExportSource,
    subject: &Subject,
    out: &Path,
    kind: ExportType,
    bar: &ProgressBar,
) -> Result<ExportReport, ImportError> {
    let model = gguf::describe(subject)?;
    let mut header = Header { metadata: model.metadata, tensors: Vec::new() };
    let mut set = |key: &str, value| header.metadata.insert(format!("general.{key}"), value);
    set("name", Value::Text(source.name.clone()));
    set("type", Value::Text("model".into()));
    set("file_type", Value::Integer(kind.file_type()));
    set("quantization_version", Value::Integer(2));
    let mut writer = Writer::new(source, bar, model.family, model.embeddings);
    let json = source.tokenizer.as_deref();
    let vocabulary = subject.spec.vocabulary;
    writer.report.notes.extend(tokenizer::add(
        &mut header.metadata,
        json,
        &source.special,
        vocabulary,
    )?);
    if let Some(divisors) = &model.divisors {
        let shape = vec![divisors.len() as u64];
        header.tensors.push((gguf::DIVISORS.to_owned(), shape, Encoding::F32));
    }
    for piece in model.plan.tensors() {
        let mut add = |name: &str| {
            let encoding = kind.of_tensor(name, &piece.shape);
            header.tensors.push((name.to_owned(), piece.shape.clone(), encoding));
        };
        add(&piece.name);
        if model.copies_head && piece.name == gguf::EMBEDDING {
            add(gguf::HEAD);
        }
    }
    let refuse = |reason: String| ImportError::Config { from: source.name.clone(), reason };
    let (start, _) = header.write().map_err(refuse)?;
    let parent = create_parent(out)?;
    let file = tempfile::Builder::new()
        .prefix(".export-")
        .tempfile_in(parent)
        .map_err(io_error("create a file in", parent))?;
    let (file, path) = file.into_parts();
    let mut output = Output { path: out.to_owned(), file: BufWriter::new(file) };
    output.write(&start)?;
    if let Some(divisors) = &model.divisors {
        output.write(bytemuck::cast_slice(divisors))?;
        output.pad(size_of_val(divisors.as_slice()))?;
        writer.report.tensors += 1;
    }
    writer.tensors(&model.plan, |piece, values, writer| {
        let encoding = kind.of_tensor(&piece.name, &piece.shape);
        let copies = if model.copies_head && piece.name == gguf::EMBEDDING { 2 } else { 1 };
        for _ in 0..copies {
            let before = writer.report.bytes;
            writer.encode(piece, &values, encoding, &mut output)?;
            output.pad((writer.report.bytes - before) as usize)?;
        }
        Ok(())
    })?;
    let file = output.finish()?;
    file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(io_error("write", out))?;
    path.persist(out).map_err(|error| io_error("replace", out)(error.error))?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(io_error("write", out))?;
    Ok(writer.report)
}

/// A file that is being written.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.file.write_all(bytes).map_err(io_error("write", &self.path))
    }

    /// Fills up to where the next tensor of a GGUF file begins, after `length` bytes.
    fn pad(&mut self, length: usize) -> Result<(), ImportError> {
        self.write(&[0; ALIGNMENT][..length.next_multiple_of(ALIGNMENT) - length])
    }

    /// Writes through to the disk.
    fn finish(self) -> Result<File, ImportError> {
        let failed = io_error("write", &self.path);
        let file = match self.file.into_inner() {
            Ok(file) => file,
            Err(error) => return Err(failed(error.into_error())),
        };
        match file.sync_all() {
            Ok(()) => Ok(file),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Reads the tensors of a model, and counts what an export of them loses.
struct Writer<'a> {
    source: &'a ExportSource,
    bar: &'a ProgressBar,
    report: ExportReport,
}

/// Maximum number of values that are encoded at a time.
const CHUNK: usize = 1 << 18;

impl<'a> Writer<'a> {
    fn new(
        source: &'a ExportSource,
        bar: &'a ProgressBar,
        family: &str,
        embeddings: Embeddings,
    ) -> Self {
        let mut report =
            ExportReport { family: family.to_owned(), root: source.root, ..Default::default() };
        if embeddings == Embeddings::Apart && source.spec.tied {
            report.notes.push(
                "the family multiplies its embedding, so that embedding and output projection are \
                 two tensors there"
                    .to_owned(),
            );
        }
        Self { source, bar, report }
    }

    /// Reads the canonical tensors, checks them against the root, and calls `write` with each
    /// tensor of `plan`.
    fn tensors(
        &mut self,
        plan: &ExportPlan,
        mut write: impl FnMut(&TensorPiece, Vec<f32>, &mut Self) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let parameters = self.source.spec.parameters();
        self.bar.set_length(parameters.len() as u64);
        let (source, bar) = (self.source, self.bar);
        let mut hasher = blake3::Hasher::new();
        let read = |index: usize| {
            let values = source.tensor(index)?;
            hasher.update(bytemuck::cast_slice(&values));
            bar.inc(1);
            match values.iter().position(|value| !value.is_finite()) {
                None => Ok(values),
                Some(at) => Err(ImportError::NotFinite {
                    name: parameters[index].name.clone(),
                    index: at,
                    value: values[at],
                }),
            }
        };
        plan.run(read, |piece, values, lost| {
            self.report.rounded += lost;
            write(piece, values, self)
        })?;
        if *hasher.finalize().as_bytes() == self.source.root {
            Ok(())
        } else {
            Err(self.source.damaged())
        }
    }

    /// Writes the values of a tensor and notes what is lost.
    fn encode(
        &mut self,
        piece: &TensorPiece,
        values: &[f32],
        encoding: Encoding,
        output: &mut Output,
    ) -> Result<(), ImportError> {
        let mut bytes = Vec::new();
        let mut decoded = vec![0.0; CHUNK.min(values.len())];
        for (chunk, values) in values.chunks(CHUNK).enumerate() {
            bytes.clear();
            encoding.encode(values, &mut bytes).map_err(|at| {
                let at = at.unwrap_or(0);
                ImportError::TooLarge {
                    name: piece.name.clone(),
                    index: chunk * CHUNK + at,
                    value: values.get(at).copied().unwrap_or_default(),
                    encoding: encoding.to_string(),
                }
            })?;
            output.write(&bytes)?;
            self.report.bytes += bytes.len() as u64;
            if encoding != Encoding::F32 {
                let decoded = &mut decoded[..values.len()];
                let contradiction =
                    |reason| ImportError::Contradiction { name: piece.name.clone(), reason };
                encoding.decode(&bytes, decoded).map_err(contradiction)?;
                self.note_losses(&piece.name, values, decoded);
            }
        }
        self.report.tensors += 1;
        Ok(())
    }

    fn note_losses(&mut self, name: &str, values: &[f32], written: &[f32]) {
        let report = &mut self.report;
        for (value, written) in values.iter().zip(written).filter(|(value, it)| value != it) {
            report.rounded += 1;
            report.zeroed += u64::from(*written == 0.0);
            let change = (value - written).abs();
            if change > report.largest_change {
                report.largest_change = change;
                report.largest_in = Some(name.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_odd_rows_keep_their_precision() {
        let of = |kind: ExportType, name: &str, shape: &[u64]| kind.of_tensor(name, shape);
        assert_eq!(of(ExportType::F16, "output_norm.weight", &[64]), Encoding::F32);
        assert_eq!(of(ExportType::Bf16, "position_embd.weight", &[8, 64]), Encoding::F32);
        assert_eq!(of(ExportType::Q8_0, "output.weight", &[8, 64]), Encoding::Q8_0);
        assert_eq!(of(ExportType::Q8_0, "output.weight", &[8, 63]), Encoding::F16);
    }

    #[test]
    fn encoded_values_are_near() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        for (kind, near) in [
            (ExportType::F32, 0.0),
            (ExportType::F16, 2e-3),
            (ExportType::Bf16, 1e-2),
            (ExportType::Q8_0, 2e-2),
        ] {
            let (mut bytes, mut decoded) = (Vec::new(), vec![0.0; 64]);
            kind.encoding().encode(&values, &mut bytes).unwrap();
            kind.encoding().decode(&bytes, &mut decoded).unwrap();
            assert!(values.iter().zip(&decoded).all(|(a, b)| (a - b).abs() <= near), "{kind:?}");
        }
        let large = [1.0, 70_000.0];
        assert_eq!(Encoding::F16.encode(&large, &mut Vec::new()), Err(Some(1)));
        assert_eq!(Encoding::Bf16.encode(&large, &mut Vec::new()), Ok(()));
        assert_eq!(Encoding::Q4_0.encode(&large, &mut Vec::new()), Err(None));
    }
}
