// SPDX-License-Identifier: Apache-2.0

//! Bounds on web pages, checked before a parser builds a tree.
//!
//! The parsing algorithm of the HTML standard makes trees that are far larger than a page: each
//! paragraph opens all formatting elements anew that are still open. Trees that are too deep end
//! the recursion of readers, and browsers cut them off at 512 elements, too.

/// Most elements within each other.
const MAX_DEPTH: usize = 512;
/// Most elements that the tree of a page may have.
const MAX_NODES: usize = 1 << 20;

/// Elements without content, by the HTML standard.
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];
/// Elements that end where the next of their kind starts.
const IMPLIED: &[&str] = &[
    "p", "li", "dt", "dd", "tr", "td", "th", "option", "optgroup", "tbody", "thead", "tfoot", "rb",
    "rt", "rtc", "rp", "colgroup", "html", "head", "body",
];
/// Elements that are opened anew in the next block if they were left open.
const FORMATTING: &[&str] = &[
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
];
/// Elements whose content is text up to their end.
const RAW: &[&str] = &["script", "style", "textarea", "title", "xmp", "iframe", "noembed"];

/// Checks that the tree of a page stays small.
///
/// # Errors
///
/// Returns the reason in words if the page may be too deep or too large.
pub(super) fn check(html: &str) -> Result<(), &'static str> {
    let (mut depth, mut formatting, mut nodes) = (0usize, 0usize, 0usize);
    let mut rest = html;
    while let Some(tag) = next_tag(&mut rest) {
        let mut buffer = [0; 12];
        let name = lower_case(tag.name, &mut buffer);
        if tag.closes {
            if FORMATTING.contains(&name) {
                formatting = formatting.saturating_sub(1);
            }
            if !IMPLIED.contains(&name) && !VOID.contains(&name) {
                depth = depth.saturating_sub(1);
            }
            continue;
        }
        nodes = nodes.saturating_add(1).saturating_add(formatting);
        if RAW.contains(&name) {
            rest = after_raw(rest, name);
        } else if !VOID.contains(&name) && !IMPLIED.contains(&name) {
            depth += 1;
            formatting += usize::from(FORMATTING.contains(&name));
        }
        if depth > MAX_DEPTH {
            return Err("a web page with over 512 elements within each other");
        }
        if nodes > MAX_NODES {
            return Err("a web page whose tree has over a million elements");
        }
    }
    Ok(())
}

struct Tag<'a> {
    name: &'a str,
    closes: bool,
}

/// Takes the next tag off a page, with its attributes.
fn next_tag<'a>(rest: &mut &'a str) -> Option<Tag<'a>> {
    loop {
        let at = memchr::memchr(b'<', rest.as_bytes())?;
        let tag = &rest[at + 1..];
        if let Some(comment) = tag.strip_prefix("!--") {
            *rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let (closes, named) = tag.strip_prefix('/').map_or((false, tag), |named| (true, named));
        let end = named
            .bytes()
            .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))
            .unwrap_or(named.len());
        if !named.starts_with(|first: char| first.is_ascii_alphabetic()) {
            *rest = tag;
            continue;
        }
        *rest = after_attributes(&named[end..]);
        return Some(Tag { name: &named[..end], closes });
    }
}

/// Returns the page after a tag's attributes. A `>` within quotes does not end the tag.
fn after_attributes(tag: &str) -> &str {
    let mut quote = None;
    let mut value = false;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return &tag[at + 1..],
            (None, b'"' | b'\'') if value => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        value = byte == b'=' || (value && byte.is_ascii_whitespace());
    }
    ""
}

/// Returns the page after the end tag of an element whose content is text.
fn after_raw<'a>(rest: &'a str, name: &str) -> &'a str {
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&rest.as_bytes()[from..], b"</") {
        let end = from + at + 2;
        if rest.get(end..end + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return &rest[end..];
        }
        from = end;
    }
    ""
}

/// Returns a short name in lower case. Longer names are none of those that matter here.
fn lower_case<'a>(name: &'a str, buffer: &'a mut [u8; 12]) -> &'a str {
    let Some(lower) = buffer.get_mut(..name.len()) else { return name };
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_pages_pass() {
        let page = "<!doctype html><html><head><title>a<b</title><script>if (a<b) {}</script>\
                    </head><body><!-- <div> --><p>one<p>two<ul><li>a<li>b</ul><br><img src='>'>";
        assert_eq!(check(page), Ok(()));
        assert_eq!(check(&"<p>text<br><b>bold</b> ".repeat(10_000)), Ok(()));
        assert_eq!(check(&"<div></div>".repeat(10_000)), Ok(()));
    }

    #[test]
    fn deep_pages_are_refused() {
        assert!(check(&"<div>".repeat(513)).unwrap_err().contains("512"));
        assert!(check(&"<x-element a='>'>".repeat(513)).unwrap_err().contains("512"));
        assert_eq!(check(&format!("<script>{}</script>", "<div>".repeat(1_000))), Ok(()));
    }

    #[test]
    fn pages_whose_tree_explodes_are_refused() {
        let open: String = (0..400).map(|number| format!("<b id={number}>")).collect();
        let page = format!("{open}{}", "<p>".repeat(10_000));
        assert!(check(&page).unwrap_err().contains("million"));
    }

    proptest! {
        #[test]
        fn any_text_is_scanned(text: String, tags in "[<>/!a-d\"'= -]{0,80}") {
            let _ = check(&text);
            let _ = check(&tags);
        }
    }
}
