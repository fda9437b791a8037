// SPDX-License-Identifier: Apache-2.0

//! Versions of the runtime against the encodings that they stand for.

use super::*;
use scale_info::{PortableRegistry, Registry, TypeDef, form::PortableForm, meta_type};
use serde_json::{Value, json};
use sp_runtime::traits::{Hash as _, TransactionExtension};

/// Digests of the encodings, with the versions that they were computed for.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/metadata.json");
/// Environment variable under which the test writes the file instead of comparing it.
const WRITE: &str = "POL_WRITE_METADATA";

/// Returns the digest of the types that signed extrinsics are made of. Names of calls and variants
/// count; paths, names of fields and documentation do not.
fn transaction_digest() -> Hash {
    let mut registry = Registry::new();
    let parts = [meta_type::<Address>(), meta_type::<RuntimeCall>(), meta_type::<Signature>()];
    let mut roots: Vec<_> = parts.iter().map(|part| registry.register_type(part).id).collect();
    let mut names = Vec::new();
    for extension in <TxExtension as TransactionExtension<RuntimeCall>>::metadata() {
        names.push(extension.identifier);
        roots.push(registry.register_type(&extension.ty).id);
        roots.push(registry.register_type(&extension.implicit).id);
    }
    let mut types = PortableRegistry::from(registry);
    for portable in &mut types.types {
        strip(&mut portable.ty);
    }
    BlakeTwo256::hash_of(&(names, roots, types))
}

/// Removes from a type whatever does not change its encoding.
fn strip(ty: &mut scale_info::Type<PortableForm>) {
    ty.path.segments.clear();
    ty.type_params.clear();
    ty.docs.clear();
    let strip_field = |field: &mut scale_info::Field<PortableForm>| {
        (field.name, field.type_name) = (None, None);
        field.docs.clear();
    };
    match &mut ty.type_def {
        TypeDef::Composite(composite) => composite.fields.iter_mut().for_each(strip_field),
        TypeDef::Variant(variants) => {
            for variant in &mut variants.variants {
                variant.docs.clear();
                variant.fields.iter_mut().for_each(strip_field);
            }
        }
        _ => {}
    }
}

/// Returns the digest of all metadata.
fn spec_digest() -> Hash {
    let metadata = Runtime::metadata_at_version(15).expect("the runtime has metadata V15");
    BlakeTwo256::hash(&metadata)
}

fn entry(version: u32, digest: Hash) -> Value {
    json!({ "version": version, "digest": format!("{digest:?}") })
}

#[test]
fn versions_are_raised_with_what_they_stand_for() {
    let now = json!({
        "transaction_version": entry(VERSION.transaction_version, transaction_digest()),
        "spec_version": entry(VERSION.spec_version, spec_digest()),
    });
    let kept: Value = serde_json::from_slice(&std::fs::read(FILE).unwrap()).unwrap();
    let of = [
        ("transaction_version", "The encoding of calls or transaction extensions"),
        ("spec_version", "The metadata"),
    ];
    for (version, of) in of {
        let (now, kept) = (&now[version], &kept[version]);
        assert!(
            now == kept || now["version"] != kept["version"],
            "{of} changed, and {version} did not. Raise it in runtime/src/lib.rs, or restore \
             runtime/metadata.json if it was written since the last release."
        );
    }
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(FILE, format!("{now:#}\n")).unwrap();
        return;
    }
    assert!(
        now == kept,
        "Versions were raised. Write runtime/metadata.json anew:\n\
         {WRITE}=1 cargo test -p pol-runtime --lib versions_are_raised"
    );
}
