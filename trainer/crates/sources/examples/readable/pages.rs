// SPDX-License-Identifier: Apache-2.0

//! Web pages made by seeded templates, each with the main text that a reader would keep.
//!
//! The layouts are those that corpora of labelled pages are divided into: articles, blogs,
//! documentation, discussions, lists, tables. Around the text stands the usual rest: menus, cookie
//! banners, related links, comments of an article, scripts.

/// Page with its main text.
pub(crate) struct Labelled {
    /// Name of the layout.
    pub(crate) layout: &'static str,
    /// Source of the page.
    pub(crate) html: String,
    /// Main text.
    pub(crate) text: String,
}

/// Way to write a page.
type Layout = fn(&mut Writer);

/// Layouts in their order.
const LAYOUTS: [(&str, Layout); 10] = [
    ("news", news),
    ("blog", blog),
    ("docs", docs),
    ("forum", forum),
    ("list", list),
    ("table", table),
    ("broken", broken),
    ("cards", cards),
    ("short", short),
    ("frames", frames),
];

/// Returns `count` pages for each layout.
pub(crate) fn labelled(count: u64, seed: u64) -> Vec<Labelled> {
    let mut pages = Vec::new();
    for (kind, (layout, make)) in LAYOUTS.iter().enumerate() {
        for number in 0..count {
            let state = seed.wrapping_add((kind as u64) << 32).wrapping_add(number);
            let mut page = Writer { state, html: String::new(), text: String::new() };
            make(&mut page);
            pages.push(Labelled { layout, html: page.html, text: page.text });
        }
    }
    pages
}

/// Page that is being written.
struct Writer {
    state: u64,
    html: String,
    text: String,
}

const STOP_WORDS: [&str; 24] = [
    "the", "of", "and", "to", "a", "in", "that", "it", "is", "was", "for", "on", "with", "as",
    "be", "at", "by", "this", "had", "from", "or", "which", "but", "not",
];
const SYLLABLES: [&str; 20] = [
    "ba", "re", "mi", "to", "lan", "ver", "sol", "ka", "den", "ti", "por", "ne", "gra", "lu",
    "sha", "win", "der", "co", "pel", "am",
];

impl Writer {
    /// Returns the next number of SplitMix64 below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.draw(of.len() as u64) as usize]
    }

    fn word(&mut self) -> String {
        if self.draw(5) < 2 {
            return self.pick(&STOP_WORDS).to_owned();
        }
        (0..2 + self.draw(3)).map(|_| self.pick(&SYLLABLES)).collect()
    }

    fn words(&mut self, count: u64) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn sentence(&mut self) -> String {
        let length = 5 + self.draw(9);
        let mut sentence = self.words(length);
        if self.draw(2) == 0 {
            let length = 3 + self.draw(6);
            sentence = format!("{sentence}, {}", self.words(length));
        }
        sentence[..1].make_ascii_uppercase();
        sentence + "."
    }

    fn prose(&mut self, sentences: u64) -> String {
        (0..sentences).map(|_| self.sentence()).collect::<Vec<_>>().join(" ")
    }

    /// Writes markup that is not part of the main text.
    fn rest(&mut self, html: &str) {
        self.html.push_str(html);
    }

    /// Writes main text between two pieces of markup.
    fn main(&mut self, open: &str, text: &str, close: &str) {
        self.html.extend([open, text, close, "\n"]);
        self.text.extend([text, "\n"]);
    }

    /// Writes a paragraph, now and then with marks and links in it.
    fn paragraph(&mut self, sentences: u64, open: &str, close: &str) {
        let text = self.prose(sentences);
        let Some((first, others)) = text.split_once(' ').filter(|_| self.draw(3) == 0) else {
            return self.main(open, &text, close);
        };
        let tag = self.pick(&["<em>{}</em>", "<a href='/w/1'>{}</a>", "<strong>{}</strong>"]);
        let marked = format!("{open}{} {others}{close}\n", tag.replace("{}", first));
        self.rest(&marked);
        self.text.extend([&text, "\n"]);
    }

    fn links(&mut self, count: u64, length: u64) -> String {
        (0..count)
            .map(|n| format!("<li><a href='/p/{n}'>{}</a></li>", self.words(length)))
            .collect()
    }

    /// Writes all that stands above the main text.
    fn head(&mut self) {
        let title = self.words(6);
        self.rest("<!DOCTYPE html><html lang=en><head><meta charset=utf-8>\n<title>");
        self.rest(&title);
        self.rest("</title><style>.a{color:red}</style><script>var a='<p>no text</p>';</script>");
        self.rest("</head><body>\n");
        let menu = self.links(7, 2);
        let banner = self.prose(2);
        let semantic = self.draw(2) == 0;
        let header = if semantic {
            format!("<header><nav><ul>{menu}</ul></nav></header>")
        } else {
            format!("<div class='top-bar'><div class='menu'><ul>{menu}</ul></div></div>")
        };
        self.rest(&header);
        self.rest(&format!(
            "<div class='cookie-banner' role='dialog'><p>{banner}</p><button>OK</button></div>"
        ));
    }

    /// Writes all that stands below the main text.
    fn foot(&mut self) {
        let related = self.links(6, 8);
        let legal = self.prose(2);
        let links = self.links(8, 2);
        self.rest(&format!(
            "<aside class='sidebar related'><h3>Related</h3><ul>{related}</ul></aside>\n\
             <footer class='footer'><p>{legal}</p><ul>{links}</ul></footer></body></html>"
        ));
    }

    fn comments(&mut self) {
        self.rest("<div id='comments' class='comments'><h3>Comments</h3>");
        for _ in 0..3 {
            let comment = self.prose(2);
            self.rest(&format!("<div class='comment'><p>{comment}</p><a href='#'>Reply</a></div>"));
        }
        self.rest("</div>");
    }
}

fn news(page: &mut Writer) {
    page.head();
    let semantic = page.draw(2) == 0;
    page.rest(if semantic { "<main><article>" } else { "<div class='story'><div class='body'>" });
    let heading = page.words(8);
    page.main("<h1>", &heading, "</h1>");
    page.rest("<div class='share'><a href='#'>Share</a> <a href='#'>Tweet</a></div>");
    for _ in 0..4 + page.draw(8) {
        let sentences = 2 + page.draw(4);
        page.paragraph(sentences, "<p>", "</p>");
        if page.draw(5) == 0 {
            let advert = page.sentence();
            page.rest(&format!("<div class='ad advertisement'>{advert}</div>"));
        }
    }
    page.rest(if semantic { "</article></main>" } else { "</div></div>" });
    page.comments();
    page.foot();
}

fn blog(page: &mut Writer) {
    page.head();
    page.rest("<div class='wrap'><div class='post-content entry'>");
    for _ in 0..3 + page.draw(4) {
        let heading = page.words(4);
        page.main("<h2>", &heading, "</h2>");
        page.paragraph(3, "<p>", "</p>");
        let quoted = page.prose(2);
        page.main("<blockquote><p>", &quoted, "</p></blockquote>");
        // Old blogs part their paragraphs by line breaks alone.
        for _ in 0..2 {
            page.paragraph(2, "", "<br><br>");
        }
    }
    page.rest("</div><div class='tags'><a href='/t'>tag</a></div></div>");
    page.comments();
    page.foot();
}

fn docs(page: &mut Writer) {
    page.head();
    let menu = page.links(25, 3);
    page.rest(&format!("<div class='toc sidebar'><ul>{menu}</ul></div><div role='main'>"));
    for _ in 0..3 + page.draw(5) {
        let heading = page.words(3);
        page.main("<section><h2>", &heading, "</h2>");
        page.paragraph(2, "<p>", "</p>");
        let (name, value) = (page.words(1), page.words(1));
        let code = format!("let {name} = {value}();\nif {name} {{ return {value}; }}");
        page.main("<pre><code>", &code, "</code></pre>");
        page.rest("<ul>");
        for _ in 0..3 {
            page.paragraph(1, "<li>", "</li>");
        }
        page.rest("</ul></section>");
    }
    page.rest("</div>");
    page.foot();
}

fn forum(page: &mut Writer) {
    page.head();
    let heading = page.words(7);
    page.rest("<div class='thread'>");
    page.main("<h1>", &heading, "</h1>");
    for _ in 0..4 + page.draw(6) {
        let user = page.words(2);
        page.rest(&format!(
            "<div class='message'><div class='user'><a href='/u'>{user}</a> <span>Joined \
             2011</span></div><div class='text'>"
        ));
        for _ in 0..1 + page.draw(3) {
            let sentences = 1 + page.draw(3);
            page.paragraph(sentences, "<p>", "</p>");
        }
        page.rest(
            "</div><div class='tools'><a href='#'>Quote</a> <a href='#'>Report</a></div></div>",
        );
    }
    page.rest("</div>");
    page.foot();
}

fn list(page: &mut Writer) {
    page.head();
    page.rest("<div id='content'>");
    let heading = page.words(6);
    page.main("<h1>", &heading, "</h1>");
    page.paragraph(2, "<p>", "</p>");
    page.rest("<ol>");
    for _ in 0..8 + page.draw(12) {
        let sentences = 1 + page.draw(2);
        page.paragraph(sentences, "<li>", "</li>");
    }
    page.rest("</ol></div>");
    page.foot();
}

fn table(page: &mut Writer) {
    page.head();
    page.rest("<div class='content'>");
    page.paragraph(4, "<p>", "</p>");
    page.rest("<table><tbody>");
    for _ in 0..6 + page.draw(10) {
        page.rest("<tr>");
        for _ in 0..4 {
            let cell = page.words(2);
            page.main("<td>", &cell, "</td>");
        }
        page.rest("</tr>");
    }
    page.rest("</tbody></table>");
    page.paragraph(3, "<p>", "</p>");
    page.rest("</div>");
    page.foot();
}

/// Writes an article in which tags are not closed, closed twice, or crossed.
fn broken(page: &mut Writer) {
    page.head();
    page.rest("<div class=article><font size=2><b>");
    for _ in 0..5 + page.draw(6) {
        let open = page.pick(&["<p>", "<P ALIGN=left>", "<p></p></span><p>", "<p><i><b>"]);
        let close = page.pick(&["", "</div-><br>", "</b></i>", "</p></p>"]);
        let sentences = 2 + page.draw(3);
        page.paragraph(sentences, open, close);
    }
    page.rest("</div>");
    page.foot();
}

/// Writes the page of a service, whose text stands in sections beside each other.
fn cards(page: &mut Writer) {
    page.head();
    for _ in 0..4 + page.draw(4) {
        page.rest("<section class='x1q9 k7'><div class='c3'>");
        let heading = page.words(4);
        page.main("<h3>", &heading, "</h3>");
        page.paragraph(2, "<p>", "</p>");
        page.rest("</div><a class='button' href='/more'>More</a></section>");
    }
    page.foot();
}

/// Writes a notice of a few sentences within much else.
fn short(page: &mut Writer) {
    page.head();
    let teasers = page.links(10, 9);
    page.rest(&format!("<div class='teasers'><ul>{teasers}</ul></div><div class='notice'>"));
    let heading = page.words(5);
    page.main("<h1>", &heading, "</h1>");
    page.paragraph(2, "<p>", "</p>");
    page.paragraph(1, "<p>", "</p>");
    page.rest("</div>");
    page.comments();
    page.foot();
}

/// Writes a page that is laid out by tables, as of the nineties, with text in their cells.
fn frames(page: &mut Writer) {
    let title = page.words(5);
    let menu = page.links(12, 2);
    page.rest(&format!(
        "<HTML><HEAD><TITLE>{title}</TITLE></HEAD><BODY BGCOLOR=white><TABLE WIDTH=100%><TR>\
         <TD WIDTH=150><UL>{menu}</UL></TD><TD><FONT FACE=Arial>"
    ));
    for _ in 0..4 + page.draw(5) {
        let sentences = 2 + page.draw(4);
        page.paragraph(sentences, "", "<BR><BR>");
    }
    let legal = page.sentence();
    page.rest(&format!(
        "</FONT></TD></TR></TABLE><HR><CENTER><SMALL>{legal}</SMALL></CENTER></BODY></HTML>"
    ));
}
