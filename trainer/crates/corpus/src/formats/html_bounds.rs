// SPDX-License-Identifier: Apache-2.0

//! Bounds on web pages, checked before a parser builds a tree.
//!
//! The parsing algorithm of the HTML standard makes trees that are far larger than a page: each
//! paragraph opens all formatting elements anew that are still open. It also walks from elements
//! to their ancestors. So the open elements are followed here with its rules, where an end tag
//! counts only if it is sure to close something.

/// Most elements that are open at the same time.
const MAX_DEPTH: usize = 2048;
/// Most elements that the tree of a page may have.
const MAX_NODES: usize = 1 << 20;
/// Most steps from elements to their ancestors.
const MAX_STEPS: usize = 1 << 25;
/// Most equal formatting elements that stay open beyond a block, by the HTML standard.
const MAX_EQUAL: usize = 3;

/// Elements without content.
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
/// Elements whose end ends all elements in them.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "button",
    "center",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "main",
    "menu",
    "nav",
    "ol",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "ul",
];
/// Elements beyond which an end tag does not reach.
const SCOPES: &[&str] = &[
    "annotation-xml",
    "applet",
    "caption",
    "desc",
    "foreignobject",
    "marquee",
    "mi",
    "mn",
    "mo",
    "ms",
    "mtext",
    "object",
    "select",
    "table",
    "template",
    "title",
];
/// Elements whose content is text up to their end.
const RAW: &[&str] = &["script", "style", "textarea", "title", "xmp", "iframe", "noembed"];
/// Elements of drawings, in which `/>` ends an element.
const DRAWING: &[&str] = &[
    "a",
    "animate",
    "animatetransform",
    "circle",
    "clippath",
    "defs",
    "desc",
    "ellipse",
    "filter",
    "g",
    "image",
    "line",
    "lineargradient",
    "marker",
    "mask",
    "metadata",
    "path",
    "pattern",
    "polygon",
    "polyline",
    "radialgradient",
    "rect",
    "stop",
    "style",
    "svg",
    "symbol",
    "text",
    "title",
    "tspan",
    "use",
];
/// Longest of these names.
const MAX_NAME: usize = 16;

/// Checks that the tree of a page stays small.
///
/// # Errors
///
/// Returns the reason in words if the page may be too deep or too large.
pub(super) fn check(html: &str) -> Result<(), &'static str> {
    let mut tree = Tree::default();
    let mut rest = html;
    while let Some(tag) = next_tag(&mut rest) {
        let mut buffer = [0; MAX_NAME];
        let name = lower_case(tag.name, &mut buffer);
        tree.nodes = tree.nodes.saturating_add(1).saturating_add(tree.active.len());
        tree.steps = tree.steps.saturating_add(tree.open.len());
        if tag.closes {
            tree.close(name);
        } else if tree.drawing.is_none() && RAW.contains(&name) {
            rest = after_raw(rest, name);
        } else {
            tree.open(&tag, name);
        }
        if tree.open.len() > MAX_DEPTH {
            return Err("a web page with over 2048 elements within each other");
        }
        if tree.nodes > MAX_NODES {
            return Err("a web page whose tree has over a million elements");
        }
        if tree.steps > MAX_STEPS {
            return Err("a web page with too many elements that are deep in it");
        }
    }
    Ok(())
}

/// Elements that are open, or may be.
#[derive(Default)]
struct Tree<'a> {
    open: Vec<&'a str>,
    /// Formatting elements that are opened anew, with their attributes.
    active: Vec<(&'a str, &'a str)>,
    /// Position of the drawing that is open, with nothing but elements of drawings in it.
    drawing: Option<usize>,
    nodes: usize,
    steps: usize,
}

impl<'a> Tree<'a> {
    fn open(&mut self, tag: &Tag<'a>, name: &str) {
        if name == "svg" {
            self.drawing = self.drawing.or(Some(self.open.len()));
        } else if self.drawing.is_some() && !DRAWING.contains(&name) {
            self.drawing = None;
        }
        let empty = self.drawing.is_some() && tag.attributes.ends_with('/');
        if empty || VOID.contains(&name) || IMPLIED.contains(&name) {
            return;
        }
        self.open.push(tag.name);
        let formatting = (tag.name, tag.attributes);
        let equal = || self.active.iter().filter(|active| **active == formatting).count();
        if self.drawing.is_none() && FORMATTING.contains(&name) && equal() < MAX_EQUAL {
            self.active.push(formatting);
        }
    }

    fn close(&mut self, name: &str) {
        let is = |open: &&str| open.eq_ignore_ascii_case(name);
        let (block, formatting) = (BLOCKS.contains(&name), FORMATTING.contains(&name));
        for at in (0..self.open.len()).rev() {
            let open = self.open[at];
            if is(&open) {
                if block {
                    self.open.truncate(at);
                } else {
                    self.open.remove(at);
                }
                break;
            }
            let mut buffer = [0; MAX_NAME];
            let scope = SCOPES.contains(&lower_case(open, &mut buffer));
            // An end that is neither of a block nor of formatting stops at most elements.
            if scope || !(block || formatting) {
                return;
            }
        }
        if formatting && let Some(at) = self.active.iter().rposition(|(open, _)| is(open)) {
            self.active.remove(at);
        }
        self.drawing = self.drawing.filter(|start| *start < self.open.len());
    }
}

struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
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
        let (name, tag) = named.split_at(end);
        let length = attributes_length(tag);
        *rest = tag.get(length + 1..).unwrap_or_default();
        return Some(Tag { name, attributes: &tag[..length], closes });
    }
}

/// Returns the length of a tag's attributes. A `>` within quotes does not end the tag.
fn attributes_length(tag: &str) -> usize {
    let mut quote = None;
    let mut value = false;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') if value => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        value = byte == b'=' || (value && byte.is_ascii_whitespace());
    }
    tag.len()
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
fn lower_case<'a>(name: &'a str, buffer: &'a mut [u8; MAX_NAME]) -> &'a str {
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
        // Things that people forget to close, and drawings.
        for part in [
            "<div></div>",
            "<div><span><font size=2></div>",
            "<b><i>text</b></i>",
            "<ul><li><a href=x>text</ul>",
            "<table><tr><td><font color=red>text<td><center>text</table>",
            "<svg viewBox='0'><g><path d='M0'/><circle/></g></svg>",
        ] {
            assert_eq!(check(&format!("<body><div>{}", part.repeat(10_000))), Ok(()), "{part}");
        }
    }

    #[test]
    fn deep_pages_are_refused() {
        for part in [
            "<div>",
            "<x-element a='>'>",
            "<div></x>",
            "<b><div></b>",
            "<span><div></span></div>",
            "<div><table></div>",
            "<svg><span></span><path/>",
            "<svg><title><div>",
            "<x/>",
        ] {
            let told = check(&part.repeat(5_000)).unwrap_err();
            assert!(told.contains("2048") || told.contains("deep"), "{part}: {told}");
        }
        assert_eq!(check(&format!("<script>{}</script>", "<div>".repeat(10_000))), Ok(()));
    }

    #[test]
    fn pages_of_many_deep_elements_are_refused() {
        let deep = format!("{}{}", "<div>".repeat(500), "</div>".repeat(500));
        assert_eq!(check(&deep.repeat(100)), Ok(()));
        assert!(check(&deep.repeat(2_500)).unwrap_err().contains("too many"));
    }

    #[test]
    fn pages_whose_tree_explodes_are_refused() {
        let open: String = (0..400).map(|number| format!("<b id={number}>")).collect();
        let page = format!("{open}{}", "<p>".repeat(10_000));
        assert!(check(&page).unwrap_err().contains("million"));
        let hidden = (0..400).map(|number| format!("<b id={number}><table><td></b></table>"));
        let page = format!("{}{}", hidden.collect::<String>(), "<p>".repeat(10_000));
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
