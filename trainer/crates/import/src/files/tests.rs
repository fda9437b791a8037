// SPDX-License-Identifier: Apache-2.0

//! Valid files are read to the bit. Damaged files are refused, whatever the damage.

use super::*;
use proptest::{collection::vec, prelude::*};

/// Creates a safetensors file of `header` and `bytes` bytes of tensors.
fn tensors(header: &str, bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..bytes).map(|i| (i * 7) as u8));
    file
}

fn safetensors_error(file: Vec<u8>) -> String {
    safetensors::read(Box::new(file)).unwrap_err().to_string()
}

/// Builder of a GGUF file.
#[derive(Default)]
struct Gguf {
    pairs: (u64, Vec<u8>),
    tensors: (u64, Vec<u8>),
    data: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Gguf {
    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.pairs.0 += 1;
        self.pairs.1.extend([text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat());
        self
    }

    fn tensor(mut self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> Self {
        self.tensors.0 += 1;
        self.tensors.1.extend([text(name), (sizes.len() as u32).to_le_bytes().to_vec()].concat());
        self.tensors.1.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        self.tensors
            .1
            .extend([kind.to_le_bytes().to_vec(), offset.to_le_bytes().to_vec()].concat());
        self
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.data.extend(data);
        self
    }

    fn bytes(self) -> Vec<u8> {
        let mut file = [b"GGUF".to_vec(), 3u32.to_le_bytes().to_vec()].concat();
        file.extend([self.tensors.0, self.pairs.0].iter().flat_map(|count| count.to_le_bytes()));
        file.extend([self.pairs.1, self.tensors.1].concat());
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(self.data);
        file
    }

    fn error(self) -> String {
        gguf::read(Box::new(self.bytes())).unwrap_err().to_string()
    }
}

/// Creates a file with a value of every type and tensors of several encodings.
fn valid_gguf() -> Vec<u8> {
    let floats: Vec<u8> =
        [1.5f32, -2.0, 0.25, 3.0, 4.0, 5.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    // A scale of 0.5, then values of -1 and 2 in turn.
    let quantised: Vec<u8> =
        [0x00, 0x38].into_iter().chain([0xff, 2].into_iter().cycle().take(32)).collect();
    Gguf::default()
        .pair("general.architecture", 8, &text("llama"))
        .pair("small", 0, &[200])
        .pair("signed", 5, &(-7i32).to_le_bytes())
        .pair("large", 10, &u64::MAX.to_le_bytes())
        .pair("real", 6, &0.5f32.to_le_bytes())
        .pair("truth", 7, &[1])
        .pair(
            "words",
            9,
            &[8u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), text("a"), text("bc")]
                .concat(),
        )
        .pair(
            "numbers",
            9,
            &[
                5u32.to_le_bytes().to_vec(),
                1u64.to_le_bytes().to_vec(),
                9i32.to_le_bytes().to_vec(),
            ]
            .concat(),
        )
        .tensor("matrix", &[3, 2], 0, 0)
        .tensor("blocks", &[32], 8, 32)
        .data(&floats)
        .data(&quantised)
        .bytes()
}

const VALID: &str = concat!(
    r#"{"__metadata__":{"format":"pt"},"#,
    r#""b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"#,
    r#""a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#
);

fn valid_safetensors() -> Vec<u8> {
    let mut file = tensors(VALID, 0);
    file.extend([1.5f32, -3.25].iter().flat_map(|value| value.to_le_bytes()));
    file.extend([0x00, 0x3c, 0x00, 0xc0]);
    file
}

#[test]
fn safetensors_are_read() {
    let table = safetensors::read(Box::new(valid_safetensors())).unwrap();
    let shapes: Vec<_> = table
        .entries()
        .iter()
        .map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
        .collect();
    assert_eq!(shapes, [("a", [2, 1].as_slice()), ("b", [2].as_slice())]);
    assert_eq!(table.decode(&table.entries()["a"]).unwrap(), [1.5, -3.25]);
    assert_eq!(table.decode(&table.entries()["b"]).unwrap(), [1.0, -2.0]);
}

#[test]
fn parts_of_tensors_are_decoded() {
    let (_, table) = gguf::read(Box::new(valid_gguf())).unwrap();
    let decode = |name: &str, first, len| {
        let mut values = vec![0.0; len];
        table.decode_part(&table.entries()[name], first, &mut values).map(|()| values)
    };
    assert_eq!(decode("matrix", 1, 3).unwrap(), [-2.0, 0.25, 3.0]);
    assert!(decode("matrix", 6, 0).unwrap().is_empty());
    assert_eq!(decode("blocks", 0, 32).unwrap(), table.decode(&table.entries()["blocks"]).unwrap());
    for (name, first, len) in [("matrix", 5, 2), ("matrix", u64::MAX, 2), ("blocks", 32, 32)] {
        assert!(matches!(decode(name, first, len), Err(FileError::Io(_))), "{name}");
    }
    for (first, len) in [(0, 31), (1, 31)] {
        let error = decode("blocks", first, len).unwrap_err().to_string();
        assert!(error.contains("Q8_0 writes 32 values at a time"), "{error}");
    }
}

#[test]
fn tensors_are_compared_in_parts() {
    // The first part ends three values before the tensor does.
    let size = COMPARED_VALUES + 3;
    let values: Vec<f32> = (0..size).map(|i| (i % 100) as f32).collect();
    let last = size as usize - 1;
    let with_last = |value: f32| [&values[..last], &[value]].concat();
    let (line, column) = ([size], [size, 1]);
    let tensors: [(&str, &[u64], Encoding, Vec<f32>); 6] = [
        ("a", &line, Encoding::F32, values.clone()),
        ("narrow", &line, Encoding::Bf16, values.clone()),
        ("last", &line, Encoding::F32, with_last(0.5)),
        ("column", &column, Encoding::F32, values.clone()),
        ("short", &line[..0], Encoding::F32, vec![0.0]),
        ("nan", &line, Encoding::F32, with_last(f32::NAN)),
    ];
    let listed = tensors.iter().map(|(name, shape, encoding, _)| (*name, *shape, *encoding));
    let mut file = safetensors::header(listed, 0);
    for (_, _, encoding, values) in &tensors {
        encoding.encode(values, &mut file).unwrap();
    }
    let table = safetensors::read(Box::new(file)).unwrap();
    let are_same = |one: &str, other: &str| {
        table.have_same_values(&table.entries()[one], &table.entries()[other]).unwrap()
    };
    assert!(are_same("a", "a") && are_same("a", "narrow") && are_same("narrow", "a"));
    for other in ["last", "column", "short", "nan"] {
        assert!(!are_same("a", other) && !are_same(other, "a"), "{other}");
    }
    assert!(!are_same("nan", "nan"), "no number is the same as NaN");

    let (_, table) = gguf::read(Box::new(valid_gguf())).unwrap();
    let blocks = &table.entries()["blocks"];
    assert!(table.have_same_values(blocks, blocks).unwrap());
}

#[test]
fn every_encoding_is_compared_by_whole_blocks() {
    for encoding in [Encoding::F64, Encoding::Q1_0, Encoding::Q2_0, Encoding::Q8_0, Encoding::Q6K] {
        assert!(COMPARED_VALUES.is_multiple_of(encoding.block().0), "{encoding}");
    }
}

#[test]
fn a_written_header_is_read() {
    let tensors: [(&str, &[u64], Encoding); 3] =
        [("z\"", &[2, 3], Encoding::F32), ("a", &[2], Encoding::Bf16), ("m", &[4], Encoding::F32)];
    for least in [0, 1_000] {
        let mut file = safetensors::header(tensors, least);
        assert!(file.len().is_multiple_of(8) && (least..1_008).contains(&file.len()));
        for (numbers, encoding) in [(0..6, Encoding::F32), (6..8, Encoding::Bf16)] {
            let numbers: Vec<f32> = numbers.map(|i| i as f32).collect();
            encoding.encode(&numbers, &mut file).unwrap();
        }
        Encoding::F32.encode(&[8.0, 9.0, 10.0, 11.0], &mut file).unwrap();
        let table = safetensors::read(Box::new(file)).unwrap();
        let values = |name: &str| table.decode(&table.entries()[name]).unwrap();
        assert_eq!(values("z\""), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((values("a"), values("m")), (vec![6.0, 7.0], vec![8.0, 9.0, 10.0, 11.0]));
    }
}

#[test]
fn malicious_safetensors_are_refused() {
    assert!(safetensors_error(vec![1, 2, 3]).contains("less than the length of a header"));
    assert!(
        safetensors_error(u64::MAX.to_le_bytes().to_vec())
            .contains("should have 18446744073709551615 bytes, and 0 follow")
    );
    assert!(safetensors_error(tensors("[]", 0)).contains("header"));
    let one = |dtype: &str, shape: &str, offsets: &str, bytes| {
        safetensors_error(tensors(
            &format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#),
            bytes,
        ))
    };
    assert!(one("F32", "[4294967296,4294967296,2]", "[0,8]", 8).contains("overflows"));
    assert!(one("F32", "[4611686018427387905]", "[0,4]", 4).contains("overflows"));
    assert!(one("F32", "[2]", "[0,4]", 8).contains("takes 8 bytes, but lies from 0 to 4"));
    assert!(one("F32", "[2]", "[8,0]", 8).contains("takes 8 bytes"));
    assert!(
        one("F32", "[2]", "[18446744073709551608,18446744073709551615]", 8)
            .contains("takes 8 bytes")
    );
    assert!(one("F32", "[-1]", "[0,4]", 4).contains("header"));
    assert!(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4).contains("9 dimensions"));
    assert!(one("F33", "[1]", "[0,4]", 4).contains("F33"));
    assert!(one("F32", "[1]", "[0,4]", 3).contains("cut short"));
    assert!(one("F32", "[1]", "[0,4]", 9).contains("5 bytes after the last tensor"));
    assert!(one("F32", "[1]", "[4,8]", 8).contains("4 bytes before tensor t"));
    let two = concat!(
        r#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#,
        r#""u":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#
    );
    assert!(safetensors_error(tensors(two, 3)).contains("overlaps"));
    assert!(
        safetensors_error(tensors(&two.replace("\"u\"", "\"t\"").replace("[1,3]", "[2,4]"), 4))
            .contains("twice")
    );
    let whole = safetensors::read(Box::new(tensors(
        r#"{"t":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#,
        8,
    )))
    .unwrap();
    assert!(whole.decode(&whole.entries()["t"]).unwrap_err().to_string().contains("I64"));
}

#[test]
fn gguf_is_read() {
    let (metadata, table) = gguf::read(Box::new(valid_gguf())).unwrap();
    use gguf::Value;
    assert_eq!(metadata["general.architecture"], Value::Text("llama".into()));
    assert_eq!(metadata["small"], Value::Integer(200));
    assert_eq!(metadata["signed"], Value::Integer(-7));
    assert_eq!(metadata["large"], Value::Integer(u64::MAX.into()));
    assert_eq!(metadata["real"], Value::Float(0.5));
    assert_eq!(metadata["truth"], Value::Bool(true));
    assert_eq!(metadata["words"], Value::Texts(vec!["a".into(), "bc".into()]));
    assert_eq!(metadata["numbers"], Value::Integers(vec![9]));
    assert_eq!(table.entries()["matrix"].shape, [2, 3]);
    assert_eq!(table.decode(&table.entries()["matrix"]).unwrap(), [1.5, -2.0, 0.25, 3.0, 4.0, 5.0]);
    assert_eq!(table.decode(&table.entries()["blocks"]).unwrap(), [-0.5, 1.0].repeat(16));
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:5\nsize 5\n";
    assert!(safetensors_error(pointer.to_vec()).contains("git lfs pull"));
    let error = gguf::read(Box::new(pointer.to_vec())).unwrap_err();
    assert!(error.to_string().contains("git lfs pull"));
}

/// Returns the bytes of a number in either order.
fn number<const N: usize>(mut little: [u8; N], big: bool) -> Vec<u8> {
    if big {
        little.reverse();
    }
    little.to_vec()
}

#[test]
fn every_version_is_read_in_either_order() {
    for (version, big) in [(1, false), (2, false), (3, false), (1, true), (2, true), (3, true)] {
        let word = |value: u32| number(value.to_le_bytes(), big);
        // Counts, lengths, and sizes. Those of the first version have 32 bits.
        let size = |value: u32| match version {
            1 => word(value),
            _ => number(u64::from(value).to_le_bytes(), big),
        };
        let text = |text: &str| [size(text.len() as u32), text.as_bytes().to_vec()].concat();
        let float = |value: f32| number(value.to_le_bytes(), big);
        let mut file = [b"GGUF".to_vec(), word(version), size(2), size(4)].concat();
        file.extend([text("name"), word(8), text("old")].concat());
        file.extend([text("words"), word(9), word(8), size(2), text("a"), text("")].concat());
        file.extend([text("short"), word(3), number((-2i16).to_le_bytes(), big)].concat());
        file.extend([text("double"), word(12), number(0.1f64.to_le_bytes(), big)].concat());
        // A row of two values, and one of 32 in a block: -1 and 2, doubled.
        let offset = |value: u64| number(value.to_le_bytes(), big);
        file.extend([text("t"), word(1), size(2), word(0), offset(0)].concat());
        file.extend([text("u"), word(1), size(32), word(8), offset(32)].concat());
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend([float(1.5), float(-2.0), vec![0; 24]].concat());
        file.extend([number(0x4000u16.to_le_bytes(), big), [0xff, 2].repeat(16)].concat());
        let (metadata, table) = gguf::read(Box::new(file)).unwrap();
        assert_eq!(metadata["name"], gguf::Value::Text("old".into()));
        assert_eq!(metadata["words"], gguf::Value::Texts(vec!["a".into(), String::new()]));
        assert_eq!(metadata["short"], gguf::Value::Integer(-2));
        assert_eq!(metadata["double"], gguf::Value::Float(0.1));
        assert_eq!(table.decode(&table.entries()["t"]).unwrap(), [1.5, -2.0]);
        assert_eq!(table.decode(&table.entries()["u"]).unwrap(), [-2.0, 4.0].repeat(16));
    }
}

#[test]
fn malicious_gguf_is_refused() {
    let error = |file: Vec<u8>| gguf::read(Box::new(file)).unwrap_err().to_string();
    assert!(error(b"GGML".to_vec()).contains("letters GGUF"));
    assert!(error(b"GG".to_vec()).contains("cut short"));
    let with = |version: u32, counts: [u64; 2]| {
        let counts = counts.iter().flat_map(|count| count.to_le_bytes());
        b"GGUF".iter().copied().chain(version.to_le_bytes()).chain(counts).collect::<Vec<u8>>()
    };
    assert!(error(with(4, [0, 0])).contains("version 4"));
    assert!(error(with(4u32.swap_bytes(), [0, 0])).contains("version 67108864"));
    assert!(error(with(3u32.swap_bytes(), [1, 0])).contains("72057594037927936 tensors"));
    assert!(error(with(3, [u64::MAX, 0])).contains("18446744073709551615 tensors"));
    assert!(error(with(3, [0, 1])).contains("1 metadata entries"));
    let new = Gguf::default;
    let array = |kind: u32, count: u64| {
        [kind.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat()
    };
    assert!(new().pair("k", 8, &u64::MAX.to_le_bytes()).error().contains("characters"));
    assert!(new().pair("k", 9, &array(4, 1 << 62)).error().contains("values"));
    assert!(new().pair("k", 9, &array(9, 0)).error().contains("array of arrays"));
    assert!(new().pair("k", 13, &[0; 8]).error().contains("type 13"));
    assert!(new().pair("k", 7, &[2]).error().contains("truth value"));
    assert!(new().pair("k", 0, &[2]).pair("k", 0, &[2]).error().contains("twice"));
    assert!(
        new().pair("general.alignment", 4, &3u32.to_le_bytes()).error().contains("power of two")
    );
    assert!(
        new().pair("general.alignment", 4, &0u32.to_le_bytes()).error().contains("power of two")
    );
    assert!(new().tensor("t", &[1 << 40, 1 << 40], 0, 0).error().contains("overflows"));
    assert!(new().tensor("t", &[1; 5], 0, 0).error().contains("5 dimensions"));
    assert!(
        new()
            .tensor("t", &[33], 8, 0)
            .error()
            .contains("rows of 33 values, which Q8_0 cannot write")
    );
    assert!(new().tensor("t", &[32], 16, 0).error().contains("IQ2_XXS cannot write"));
    assert!(new().tensor("t", &[32], 9, 0).error().contains("type Q8_1"));
    assert!(new().tensor("t", &[32], 31, 0).error().contains("Q4_0_4_4, which llama.cpp has"));
    assert!(new().tensor("t", &[32], 43, 0).error().contains("43, which is not known"));
    assert!(new().tensor("t", &[1], 0, 4).data(&[0; 8]).error().contains("multiple of 32"));
    assert!(new().tensor("t", &[1], 0, u64::MAX - 31).error().contains("beyond any file"));
    assert!(new().tensor("t", &[2], 0, 0).data(&[0; 4]).error().contains("cut short"));
    assert!(
        new()
            .tensor("t", &[2], 0, 0)
            .tensor("u", &[2], 0, 0)
            .data(&[0; 40])
            .error()
            .contains("overlaps")
    );
    assert!(
        new()
            .tensor("t", &[2], 0, 0)
            .tensor("t", &[2], 0, 32)
            .data(&[0; 40])
            .error()
            .contains("twice")
    );
}

/// Reads everything that can be read of `file` in either format. The test is that this returns.
fn read_anything(file: &[u8]) {
    let mut read = vec![safetensors::read(Box::new(file.to_vec())).ok()];
    read.push(gguf::read(Box::new(file.to_vec())).ok().map(|(_, table)| table));
    for table in read.into_iter().flatten() {
        for entry in table.entries().values() {
            if let Ok(values) = table.decode(entry) {
                assert_eq!(values.len() as u64, entry.len());
                // A block of 128 values has at least 18 bytes.
                assert!(
                    values.len() <= 8 * file.len(),
                    "more values than a file of {} bytes can hold",
                    file.len()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        read_anything(&bytes);
        read_anything(&[b"GGUF\x03\0\0\0".as_slice(), &bytes].concat());
        read_anything(&tensors(&String::from_utf8_lossy(&bytes), 10));
    }

    #[test]
    fn any_blocks_are_decoded(
        kind in 0u32..50,
        big in any::<bool>(),
        seed in vec(any::<u8>(), 1..300),
    ) {
        // One row. Its blocks repeat the bytes, at another place each.
        let mut file = Gguf::default().tensor("t", &[512], kind, 0);
        file = file.data(&seed.iter().copied().cycle().take(512 * 8).collect::<Vec<_>>());
        let mut file = file.bytes();
        if big {
            // Numbers of the header: version, counts, and those of the tensor.
            let fields =
                [(4, 4), (8, 8), (16, 8), (24, 8), (33, 4), (37, 8), (45, 4), (49, 8)];
            for (at, size) in fields {
                file[at..at + size].reverse();
            }
        }
        let removed = [4, 5, 9, 31, 32, 33, 36, 37, 38];
        // Types with grids are not read in this order.
        let grids = [16, 17, 18, 19, 21, 22, 29];
        let is_known =
            kind < 43 && !removed.contains(&kind) && !(big && grids.contains(&kind));
        let read = gguf::read(Box::new(file));
        prop_assert_eq!(read.is_ok(), is_known);
        if let Ok((_, table)) = read {
            let values = table.decode(&table.entries()["t"]);
            prop_assert_eq!(values.map_or(0, |values| values.len()), match kind {
                // Integers, which weights are not.
                24..=27 => 0,
                _ => 512,
            });
        }
    }

    #[test]
    fn flipped_bits_are_survived(
        flips in vec(any::<(prop::sample::Index, u8)>(), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        for mut file in [valid_gguf(), valid_safetensors()] {
            for (place, bit) in &flips {
                let place = place.index(file.len());
                file[place] ^= 1 << (bit % 8);
            }
            if cuts {
                file.truncate(cut.index(file.len()));
            }
            read_anything(&file);
        }
    }

    #[test]
    fn any_number_anywhere_is_survived(
        place in any::<prop::sample::Index>(),
        number in prop_oneof![
            any::<u64>(), 0u64..300, Just(u64::MAX), Just(1 << 63), Just(1 << 32)
        ],
    ) {
        for mut file in [valid_gguf(), valid_safetensors()] {
            let place = place.index(file.len() - 8);
            file[place..place + 8].copy_from_slice(&number.to_le_bytes());
            read_anything(&file);
        }
    }

    #[test]
    fn any_claim_is_survived(
        shape in vec(prop_oneof![any::<u64>(), 0u64..5], 0..10),
        from in prop_oneof![any::<u64>(), 0u64..20],
        to in prop_oneof![any::<u64>(), 0u64..20],
        dtype in "F16|F32|F64|BF16|I64|X",
    ) {
        let entry =
            format!(r#""dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{to}]"#);
        read_anything(&tensors(&format!(r#"{{"t":{{{entry}}}}}"#), 16));
    }

    #[test]
    fn a_cut_file_is_refused(cut in any::<prop::sample::Index>()) {
        let (mut gguf, mut safe) = (valid_gguf(), valid_safetensors());
        gguf.truncate(cut.index(gguf.len()));
        safe.truncate(cut.index(safe.len()));
        prop_assert!(gguf::read(Box::new(gguf)).is_err());
        prop_assert!(safetensors::read(Box::new(safe)).is_err());
    }
}
