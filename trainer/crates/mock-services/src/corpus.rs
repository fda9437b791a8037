// SPDX-License-Identifier: Apache-2.0

//! Works of a folder, in passages.

use std::{fs, io, path::Path};

/// Size at which a passage ends, with the paragraph that reaches it.
const PASSAGE_BYTES: usize = 2_000;

/// A work in passages.
pub struct Work {
    /// Name in addresses.
    pub slug: String,
    /// Title for people.
    pub title: String,
    /// Passages, each with paragraphs between empty lines.
    pub passages: Vec<String>,
}

/// Reads the `.txt` files of a folder in the order of their names, each as a work.
///
/// # Errors
///
/// Fails if the folder or a file cannot be read, or if there is no work.
pub fn read_works(folder: &Path) -> io::Result<Vec<Work>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::other("there is no .txt file"));
    }
    paths.iter().map(|path| read_work(path)).collect()
}

fn read_work(path: &Path) -> io::Result<Work> {
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let words: Vec<&str> = name
        .trim_end_matches("_gut")
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let passages = passages(text.trim_start_matches('\u{feff}'));
    Ok(Work { slug: words.join("-"), title: words.join(" "), passages })
}

/// Cuts a text between paragraphs.
fn passages(text: &str) -> Vec<String> {
    let mut passages = vec![String::new()];
    for paragraph in text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
        match passages.last_mut() {
            Some(last) if last.len() < PASSAGE_BYTES => {
                let gap = if last.is_empty() { "" } else { "\n\n" };
                *last += gap;
                *last += paragraph;
            }
            _ => passages.push(paragraph.to_owned()),
        }
    }
    passages.retain(|passage| !passage.is_empty());
    passages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_texts_becomes_works_in_passages() {
        let folder = tempfile::tempdir().unwrap();
        let paragraph = "x".repeat(1_500);
        let text = format!("\u{feff}{paragraph}\r\n\r\n\r\n{paragraph}\r\n\r\nlast\r\nline\r\n");
        fs::write(folder.path().join("b_(c)_gut.txt"), text).unwrap();
        fs::write(folder.path().join("a.txt"), "\n\n").unwrap();
        fs::write(folder.path().join("other.md"), "text").unwrap();
        let works = read_works(folder.path()).unwrap();
        let slugs: Vec<_> = works.iter().map(|work| work.slug.as_str()).collect();
        assert_eq!(slugs, ["a", "b-c"]);
        assert_eq!(works[1].title, "b c");
        assert!(works[0].passages.is_empty());
        let expected = [format!("{paragraph}\n\n{paragraph}"), "last\nline".into()];
        assert_eq!(works[1].passages, expected);
        assert!(read_works(&folder.path().join("missing")).is_err());
        let empty = tempfile::tempdir().unwrap();
        assert!(read_works(empty.path()).is_err());
    }
}
