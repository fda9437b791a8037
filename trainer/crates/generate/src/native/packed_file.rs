// SPDX-License-Identifier: Apache-2.0

//! Files of packed parameters, from which a model is ready as soon as memory is filled.
//!
//! A file begins with [`MAGIC`], the length of its header, the BLAKE3 hash of the header, and the
//! header, a [`Header`] in JSON. Matrices and vectors follow, as they are in memory.
//!
//! Hashes find damage. They do not bind the parameters to the root that the header names: whoever
//! writes the file chooses both. Only [`compare`] tells whether they belong together.

use super::{
    matrix::{Matrix, MatrixHeader},
    tensors::{MatrixPart, PackedTensors},
};
use crate::Error;
use bytemuck::{cast_slice, cast_slice_mut};
use pol_primitives::{Hash, model::ModelSpec};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    process,
};

/// Name of the file of packed parameters in the folder of a model.
pub const PACKED_FILE: &str = "packed.bin";

/// First bytes, with the version of the format and of the forms.
const MAGIC: [u8; 8] = *b"POLPACK1";
/// Bytes before the header.
const PREFIX_BYTES: usize = MAGIC.len() + size_of::<u64>() + size_of::<Hash>();
/// Most bytes of a header. Those of large models have a few hundred thousand.
const MAX_HEADER_BYTES: u64 = 1 << 26;
/// Most bytes that are compared at once.
const COMPARED_BYTES: usize = 1 << 20;

/// Content of a file.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Root of the model.
    root: Hash,
    /// Hash of its specification.
    spec: Hash,
    /// Tensors in the order of their bytes.
    matrices: Vec<StoredMatrix>,
    vectors: Vec<StoredVector>,
}

#[derive(Serialize, Deserialize)]
struct StoredMatrix {
    name: String,
    matrix: MatrixHeader,
    /// Hash of the bytes.
    hash: Hash,
}

#[derive(Serialize, Deserialize)]
struct StoredVector {
    name: String,
    len: usize,
    hash: Hash,
}

/// Writes `tensors` of the model of `spec` with this `root` to the file at `path`, whole or not at
/// all.
pub(super) fn write(
    path: &Path,
    root: &Hash,
    spec: &ModelSpec,
    tensors: &PackedTensors,
) -> Result<(), Error> {
    let partial = path.with_extension(format!("{}.partial", process::id()));
    let written = write_file(&partial, root, spec, tensors);
    let written = written.and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        unusable(path, &error)
    })
}

/// Compares the file at `path`, byte by byte, with the one that [`write`] makes of `tensors`.
pub(super) fn compare(
    path: &Path,
    root: &Hash,
    spec: &ModelSpec,
    tensors: &PackedTensors,
) -> Result<(), Error> {
    let compared = File::open(path).and_then(|file| {
        let mut comparison = Comparison { file: BufReader::new(file), found: Vec::new() };
        write_to(&mut comparison, root, spec, tensors)?;
        comparison.end()
    });
    compared.map_err(|error| unusable(path, &error))
}

fn write_file(
    path: &Path,
    root: &Hash,
    spec: &ModelSpec,
    tensors: &PackedTensors,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write_to(&mut file, root, spec, tensors)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn write_to(
    file: &mut impl Write,
    root: &Hash,
    spec: &ModelSpec,
    tensors: &PackedTensors,
) -> io::Result<()> {
    let stored = |(name, matrix): (&String, &Matrix)| {
        let mut hasher = blake3::Hasher::new();
        for part in matrix.parts() {
            hasher.update(part);
        }
        let hash = *hasher.finalize().as_bytes();
        StoredMatrix { name: name.clone(), matrix: matrix.header(), hash }
    };
    let vectors = tensors.vectors.iter().map(|(name, values)| StoredVector {
        name: name.clone(),
        len: values.len(),
        hash: *blake3::hash(cast_slice(values)).as_bytes(),
    });
    let header = Header {
        root: *root,
        spec: spec.hash(),
        matrices: tensors.matrices.par_iter().map(stored).collect(),
        vectors: vectors.collect(),
    };
    let header = serde_json::to_vec(&header)?;
    file.write_all(&MAGIC)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(blake3::hash(&header).as_bytes())?;
    file.write_all(&header)?;
    for part in tensors.matrices.values().flat_map(Matrix::parts) {
        file.write_all(part)?;
    }
    for values in tensors.vectors.values() {
        file.write_all(cast_slice(values))?;
    }
    Ok(())
}

/// Reads the file at `path`, of a model of `spec` with this `root`, on the current thread pool.
pub(super) fn read(path: &Path, root: &Hash, spec: &ModelSpec) -> Result<PackedTensors, Error> {
    read_file(path, root, spec).map_err(|error| unusable(path, &error))
}

fn read_file(path: &Path, root: &Hash, spec: &ModelSpec) -> io::Result<PackedTensors> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let (header, mut end) = read_header(&file, size)?;
    if header.root != *root || header.spec != spec.hash() {
        return Err(invalid("they are those of another model".into()));
    }
    if !has_tensors_of(&header, spec) {
        return Err(invalid("tensors are missing, or have other sizes".into()));
    }
    let mut start = |bytes: Option<u64>| {
        let start = end;
        end = bytes.and_then(|bytes| start.checked_add(bytes)).filter(|&end| end <= size)?;
        Some((start, end - start))
    };
    let cut = || invalid(format!("the file has {size} bytes, and its tensors take others"));
    let mut matrices = Vec::new();
    for stored in &header.matrices {
        matrices.push((stored, start(stored.matrix.bytes()).ok_or_else(cut)?));
    }
    let mut vectors = Vec::new();
    for stored in &header.vectors {
        let bytes = stored.len.checked_mul(size_of::<f32>()).map(|bytes| bytes as u64);
        vectors.push((stored, start(bytes).ok_or_else(cut)?));
    }
    if end != size {
        return Err(cut());
    }
    // The largest first, so that no thread begins it when others have ended.
    matrices.sort_by_key(|&(_, (_, bytes))| Reverse(bytes));
    let matrix = |(stored, (offset, _)): (&StoredMatrix, (u64, u64))| -> io::Result<_> {
        let mut reader = HashedReader::new(&file, offset);
        let matrix = Matrix::from_parts(&stored.matrix, |bytes| reader.fill(bytes))?;
        reader.verify(&stored.name, &stored.hash)?;
        Ok((stored.name.clone(), matrix))
    };
    let vector = |(stored, (offset, _)): (&StoredVector, (u64, u64))| -> io::Result<_> {
        let mut reader = HashedReader::new(&file, offset);
        let mut values = vec![0f32; stored.len];
        reader.fill(cast_slice_mut(&mut values))?;
        reader.verify(&stored.name, &stored.hash)?;
        Ok((stored.name.clone(), values))
    };
    Ok(PackedTensors {
        matrices: matrices
            .into_par_iter()
            .with_max_len(1)
            .map(matrix)
            .collect::<io::Result<BTreeMap<String, Matrix>>>()?,
        vectors: vectors.into_iter().map(vector).collect::<io::Result<_>>()?,
    })
}

/// Reads the header of a file of `size` bytes. Returns it with the place where it ends.
fn read_header(file: &File, size: u64) -> io::Result<(Header, u64)> {
    let mut prefix = [0; PREFIX_BYTES];
    file.read_exact_at(&mut prefix, 0)?;
    let (magic, rest) = prefix.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(invalid("another version wrote them".into()));
    }
    let (length, hash) = rest.split_at(size_of::<u64>());
    let length = length.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    let start = PREFIX_BYTES as u64;
    let end = start.checked_add(length).filter(|&end| end <= size && length <= MAX_HEADER_BYTES);
    let end = end.ok_or_else(|| invalid("the header is longer than the file".into()))?;
    let mut header = vec![0; length as usize];
    file.read_exact_at(&mut header, start)?;
    if blake3::hash(&header).as_bytes() != hash {
        return Err(invalid("the header has changed".into()));
    }
    Ok((serde_json::from_slice(&header)?, end))
}

/// Returns `true` if `header` has the tensors of models of `spec`, and no others.
fn has_tensors_of(header: &Header, spec: &ModelSpec) -> bool {
    let mut matrices: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut vectors: BTreeMap<String, usize> = BTreeMap::new();
    for parameter in spec.parameters() {
        match MatrixPart::of(&parameter) {
            Some(MatrixPart { name, inputs, outputs, .. }) => {
                matrices.entry(name).or_insert((inputs, 0)).1 += outputs;
            }
            None => {
                let len = parameter.len();
                vectors.insert(parameter.name, len);
            }
        }
    }
    // Each is taken out, so that none counts twice.
    let is_matrix = |stored: &StoredMatrix| {
        let sizes = (stored.matrix.inputs(), stored.matrix.outputs());
        matrices.remove(&stored.name) == Some(sizes)
    };
    let is_vector = |stored: &StoredVector| vectors.remove(&stored.name) == Some(stored.len);
    let are_known = header.matrices.iter().all(is_matrix) && header.vectors.iter().all(is_vector);
    are_known && matrices.is_empty() && vectors.is_empty()
}

/// Writer that compares what it gets with a file.
struct Comparison {
    file: BufReader<File>,
    found: Vec<u8>,
}

impl Comparison {
    /// Checks that the file ends here.
    fn end(mut self) -> io::Result<()> {
        if self.file.read(&mut [0])? == 0 { Ok(()) } else { Err(other_parameters()) }
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(COMPARED_BYTES)];
        self.found.resize(bytes.len(), 0);
        self.file.read_exact(&mut self.found).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => other_parameters(),
            _ => error,
        })?;
        if self.found[..] == *bytes { Ok(bytes.len()) } else { Err(other_parameters()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn other_parameters() -> io::Error {
    invalid("they are not those of the model beside them".into())
}

/// Reader of a part of a file that hashes what it reads.
struct HashedReader<'a> {
    file: &'a File,
    offset: u64,
    hasher: blake3::Hasher,
}

impl<'a> HashedReader<'a> {
    fn new(file: &'a File, offset: u64) -> Self {
        Self { file, offset, hasher: blake3::Hasher::new() }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Compares the hash of what was read.
    fn verify(&self, name: &str, expected: &Hash) -> io::Result<()> {
        if self.hasher.finalize().as_bytes() == expected {
            return Ok(());
        }
        Err(invalid(format!("tensor {name} has changed")))
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Packed { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LanguageModel, NativeModel, Prediction, SequenceInput};
    use half::{bf16, f16};
    use pol_model::initial_parameters;
    use pol_primitives::model::{Activation, Norm, PositionEncoding};

    /// A gated model with tied and untied parts, biases, and learned positions.
    fn specs() -> [ModelSpec; 3] {
        let gpt2 = ModelSpec::gpt2(101, 64, 2, 4, 96, 80);
        let positions =
            PositionEncoding::Rotary { dimensions: 16, base: 10_000, interleaved: false };
        let gated = ModelSpec {
            activation: Activation::Silu,
            gated: true,
            tied: false,
            norm: Norm::Rms { epsilon: 10_000 },
            positions,
            ..gpt2
        };
        let mut introspective = gated;
        introspective.mind.introspection = true;
        [gpt2, gated, introspective]
    }

    fn logits(model: &NativeModel) -> Vec<u32> {
        let (mut cache, mut prediction) = (model.new_cache(8).unwrap(), Prediction::default());
        model
            .forward(&mut [SequenceInput {
                cache: &mut cache,
                tokens: &[5, 100, 17],
                prediction: &mut prediction,
            }])
            .unwrap();
        prediction.logits.iter().map(|logit| logit.to_bits()).collect()
    }

    /// Writes `flat` to `path`.
    fn write(spec: &ModelSpec, flat: &[f32], path: &Path) {
        let mut left = flat;
        let read = |values: &mut [f32]| -> Result<(), Error> {
            let (next, after) = left.split_at(values.len());
            values.copy_from_slice(next);
            left = after;
            Ok(())
        };
        NativeModel::write_packed(spec, &[1; 32], 2, read, path).unwrap();
    }

    #[test]
    fn a_packed_model_computes_the_same_bits() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(PACKED_FILE);
        for spec in specs() {
            let whole = initial_parameters(&spec, &[7; 32]);
            let rounds: [fn(f32) -> f32; 4] = [
                |value| value,
                |value| bf16::from_f32(value).to_f32(),
                |value| f16::from_f32(value).to_f32(),
                // As in Q8_0, with one scale for all.
                |value| (value * 1_024.0).round().clamp(-127.0, 127.0) / 1_024.0,
            ];
            for (index, round) in rounds.into_iter().enumerate() {
                let flat: Vec<f32> = whole.iter().copied().map(round).collect();
                write(&spec, &flat, &path);
                let packed = NativeModel::from_packed(&spec, &[1; 32], 2, &path).unwrap();
                let own = NativeModel::new(&spec, &flat, 2).unwrap();
                assert_eq!(packed.bytes_per_token(), own.bytes_per_token(), "{index}");
                assert_eq!(logits(&packed), logits(&own), "{index}");
            }
        }
        let left = fs::read_dir(scratch.path()).unwrap().count();
        assert_eq!(left, 1, "only the file itself is there");
    }

    #[test]
    fn packed_parameters_of_another_model_are_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(PACKED_FILE);
        let spec = specs()[1];
        let [own, other] = [7, 8].map(|seed| initial_parameters(&spec, &[seed; 32]));
        let compare = || {
            let mut left = &own[..];
            let read = |values: &mut [f32]| -> Result<(), Error> {
                let (next, after) = left.split_at(values.len());
                values.copy_from_slice(next);
                left = after;
                Ok(())
            };
            let compared = NativeModel::compare_packed(&spec, &[1; 32], 2, read, &path);
            compared.err().map(|error| error.to_string()).unwrap_or_default()
        };
        write(&spec, &own, &path);
        assert_eq!(compare(), "");
        let whole = fs::read(&path).unwrap();
        let longer = [&whole[..], &[0]].concat();
        for changed in [&whole[..whole.len() - 1], &longer[..]] {
            fs::write(&path, changed).unwrap();
            assert!(compare().contains("not those of the model"), "{}", compare());
        }
        // The file claims the root of the model, and loads, and has other parameters.
        write(&spec, &other, &path);
        assert!(NativeModel::from_packed(&spec, &[1; 32], 2, &path).is_ok());
        assert!(compare().contains("not those of the model"), "{}", compare());
    }

    #[test]
    fn each_tensor_is_there_once() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(PACKED_FILE);
        let spec = specs()[0];
        write(&spec, &initial_parameters(&spec, &[7; 32]), &path);
        let file = File::open(&path).unwrap();
        let header = || read_header(&file, file.metadata().unwrap().len()).unwrap().0;
        assert!(has_tensors_of(&header(), &spec));
        // Norms of a block have the same sizes.
        let mut twice = header();
        let norms = ["h.0.ln_1.weight", "h.0.ln_2.weight"];
        let second = twice.vectors.iter_mut().find(|stored| stored.name == norms[1]).unwrap();
        second.name = norms[0].into();
        assert!(!has_tensors_of(&twice, &spec));
        let mut fewer = header();
        fewer.matrices.pop();
        assert!(!has_tensors_of(&fewer, &spec));
    }

    #[test]
    fn a_changed_file_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(PACKED_FILE);
        let spec = specs()[1];
        write(&spec, &initial_parameters(&spec, &[7; 32]), &path);
        let whole = fs::read(&path).unwrap();
        let refused = |spec: &ModelSpec, root: u8| {
            let error = NativeModel::from_packed(spec, &[root; 32], 2, &path);
            error.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(&spec, 1), "");
        assert!(refused(&spec, 2).contains("another model"), "{}", refused(&spec, 2));
        let other = ModelSpec { context: spec.context / 2, ..spec };
        assert!(refused(&other, 1).contains("another model"), "{}", refused(&other, 1));
        // Every byte counts, wherever it is.
        for at in (0..PREFIX_BYTES).chain((PREFIX_BYTES..whole.len()).step_by(997)) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(refused(&spec, 1).contains("cannot be used"), "byte {at}");
        }
        for len in [0, 7, PREFIX_BYTES, PREFIX_BYTES + 9, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(refused(&spec, 1).contains("cannot be used"), "{len} bytes");
        }
        fs::remove_file(&path).unwrap();
        assert!(refused(&spec, 1).contains("cannot be used"));
    }
}
