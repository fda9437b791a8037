// SPDX-License-Identifier: Apache-2.0

//! Web site with a page for each passage, and boilerplate around it.

use crate::{Response, Work};
use std::fmt::Write;

/// Newest passages, which the feed holds.
const FEED_ENTRIES: usize = 40;

/// Licence of everything on the site.
const LICENCE: &str = "https://creativecommons.org/publicdomain/zero/1.0/";

/// Navigation and notices, of which nothing belongs to a text.
const HEADER: &str = "<header><nav><ul><li><a href=\"/\">Home</a></li>\
    <li><a href=\"/members/\">Members</a></li><li><a href=\"/feed.xml\">Feed</a></li></ul></nav>\
    <div class=\"cookie-banner\">We use cookies to give you the best experience. \
    <button>Accept all</button></div></header>";
const FOOTER: &str = "<aside class=\"sidebar\"><h2>Popular</h2><ul><li><a href=\"/\">All works</a>\
    </li></ul><p>Subscribe to our newsletter!</p></aside>\
    <footer><p>Copyright of this site. All buttons reserved. Terms of use. Privacy policy.</p>\
    </footer>";

/// Replaces the characters that mean something in HTML and XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the paragraphs of a passage as HTML, each in a line.
pub(crate) fn html_paragraphs(passage: &str) -> String {
    let mut html = String::new();
    for paragraph in passage.split("\n\n") {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let _ = writeln!(html, "<p>{}</p>", escape(&words.join(" ")));
    }
    html
}

/// Pages of some works, and a feed of the passages of others.
pub(crate) struct Site {
    pages: Vec<Work>,
    news: Vec<Work>,
}

impl Site {
    pub(crate) fn new(pages: Vec<Work>, news: Vec<Work>) -> Self {
        Self { pages, news }
    }

    /// Answers a request for `path` on the site whose address is `base`.
    pub(crate) fn answer(&self, path: &str, base: &str) -> Response {
        let text = |media, body: String| Response::new(200, body).with("Content-Type", media);
        match path {
            "/robots.txt" => {
                let rules = "User-agent: *\nDisallow: /members/\n";
                text("text/plain", format!("{rules}Sitemap: {base}/sitemap.xml\n"))
            }
            "/sitemap.xml" => text("application/xml", self.sitemap(base)),
            "/feed.xml" => text("application/rss+xml", self.feed(base)),
            "/" => text("text/html; charset=utf-8", self.index()),
            _ => match self.page(path) {
                Some(page) => text("text/html; charset=utf-8", page),
                None => Response::new(404, "There is no such page."),
            },
        }
    }

    /// Returns the paths of all pages.
    fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.pages.iter().flat_map(|work| {
            (1..=work.passages.len()).map(move |number| format!("/{}/{number}", work.slug))
        })
    }

    fn sitemap(&self, base: &str) -> String {
        let urls = self.paths().map(|path| format!("<url><loc>{base}{path}</loc></url>\n"));
        let urls: String = urls.collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n{urls}</urlset>\n"
        )
    }

    fn feed(&self, base: &str) -> String {
        let entries =
            self.news.iter().flat_map(|work| (1..).zip(&work.passages).map(move |it| (work, it)));
        let mut items = String::new();
        for (Work { slug, title, .. }, (number, passage)) in entries.take(FEED_ENTRIES) {
            let _ = writeln!(
                items,
                "<item><title>{} ({number})</title><link>{base}/news/{slug}/{number}</link>\
                 <guid>{slug}-{number}</guid><content:encoded><![CDATA[{}]]></content:encoded>\
                 </item>",
                escape(title),
                html_paragraphs(passage)
            );
        }
        format!(
            "<?xml version=\"1.0\"?><rss version=\"2.0\" \
             xmlns:content=\"http://purl.org/rss/1.0/modules/content/\"><channel>\
             <title>New passages</title><link>{base}/</link><description>Passages</description>\n\
             {items}</channel></rss>"
        )
    }

    fn index(&self) -> String {
        let link = |work: &Work| {
            format!("<li><a href=\"/{}/1\">{}</a></li>\n", work.slug, escape(&work.title))
        };
        let links: String = self.pages.iter().map(link).collect();
        document("All works", &format!("<main><ul>\n{links}</ul></main>"))
    }

    /// Returns the page at `/SLUG/NUMBER`.
    fn page(&self, path: &str) -> Option<String> {
        let (slug, number) = path.strip_prefix('/')?.split_once('/')?;
        let work = self.pages.iter().find(|work| work.slug == slug)?;
        let number: usize = number.parse().ok()?;
        let passage = work.passages.get(number.checked_sub(1)?)?;
        let title = format!("{} ({number})", work.title);
        let article = format!(
            "<article><h1>{}</h1>\n{}</article><p><a href=\"/{slug}/{}\">Next page</a></p>",
            escape(&title),
            html_paragraphs(passage),
            number + 1
        );
        Some(document(&title, &article))
    }
}

/// Returns a page of the site around its own part.
fn document(title: &str, main: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <link rel=\"license\" href=\"{LICENCE}\"></head><body>\n{HEADER}\n{main}\n{FOOTER}\n\
         </body></html>",
        escape(title)
    )
}
