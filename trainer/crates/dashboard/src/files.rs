// SPDX-License-Identifier: Apache-2.0

//! Files of the pages.

use axum::http::HeaderValue;
use std::sync::LazyLock;

/// File that is part of the program.
pub(crate) struct File {
    name: &'static str,
    /// Media type.
    pub(crate) media: HeaderValue,
    /// Content.
    pub(crate) bytes: &'static [u8],
    tag: LazyLock<HeaderValue>,
}

impl File {
    /// Returns the tag of the content: a part of its BLAKE3.
    pub(crate) fn tag(&self) -> HeaderValue {
        self.tag.clone()
    }
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let hash = blake3::hash(bytes);
    let text = format!("\"{}\"", hex::encode(&hash.as_bytes()[..16]));
    // Hexadecimal digits always make a header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Makes a file of the folder `assets`.
macro_rules! file {
    ($name:literal, $media:literal) => {
        File {
            name: $name,
            media: HeaderValue::from_static($media),
            bytes: include_bytes!(concat!("../assets/", $name)),
            tag: LazyLock::new(|| tag(include_bytes!(concat!("../assets/", $name)))),
        }
    };
}

macro_rules! scripts {
    ($($name:literal),* $(,)?) => {
        [
            $(file!($name, "text/javascript; charset=utf-8"),)*
            file!("style.css", "text/css; charset=utf-8"),
            file!("icon.svg", "image/svg+xml"),
        ]
    };
}

/// The page, which all addresses have.
pub(crate) static INDEX: File = file!("index.html", "text/html; charset=utf-8");

/// Files that the page loads.
static ASSETS: [File; 22] = scripts![
    "answer.js",
    "api.js",
    "app.js",
    "audits.js",
    "charts.js",
    "data.js",
    "documents.js",
    "dom.js",
    "economy.js",
    "experts.js",
    "format.js",
    "learning.js",
    "live.js",
    "machine.js",
    "network.js",
    "page.js",
    "reasoning.js",
    "table.js",
    "talk.js",
    "theme.js",
];

/// Returns the file of this name.
pub(crate) fn find(name: &str) -> Option<&'static File> {
    ASSETS.iter().find(|file| file.name == name)
}

#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|file| file.name)
}
