//! Forms in HTML, read the way a browser would as far as a page without scripts goes.

/// The first form of a page that is sent by POST.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) action: String,
    pub(super) fields: Vec<Field>,
    pub(super) buttons: Vec<Button>,
}

/// An input of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) hidden: bool,
}

/// A button that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Button {
    pub(super) name: String,
    pub(super) value: String,
}

impl Form {
    /// Returns the first form of a page that is sent by POST.
    pub(super) fn find(page: &str) -> Option<Self> {
        let mut form: Option<Self> = None;
        for tag in (Tags { rest: page }) {
            let name = tag.attribute("name").unwrap_or_default();
            let value = tag.attribute("value").unwrap_or_default();
            match (tag.name.as_str(), &mut form) {
                ("form", None)
                    if tag.attribute("method").is_some_and(|way| way.eq_ignore_ascii_case("post")) =>
                {
                    let action = tag.attribute("action").unwrap_or_default();
                    form = Some(Self { action, ..Self::default() });
                }
                ("/form", Some(_)) => return form,
                ("input", Some(form)) if !name.is_empty() => {
                    let hidden = tag.attribute("type").is_some_and(|kind| kind == "hidden");
                    form.fields.push(Field { name, value, hidden });
                }
                ("button", Some(form)) if !name.is_empty() => {
                    form.buttons.push(Button { name, value });
                }
                _ => {}
            }
        }
        // A form without an end is no form of ours.
        None
    }
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    }
}

/// The tags of a page, comments and text left out.
struct Tags<'a> {
    rest: &'a str,
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        loop {
            let (_, after) = self.rest.split_once('<')?;
            if let Some(comment) = after.strip_prefix("!--") {
                self.rest = comment.split_once("-->")?.1;
                continue;
            }
            let length = after
                .find(|letter: char| letter.is_ascii_whitespace() || letter == '>')
                .unwrap_or(after.len());
            let name = after[..length].trim_end_matches('/').to_ascii_lowercase();
            let (attributes, rest) = attributes(&after[length..]);
            self.rest = rest;
            return Some(Tag { name, attributes });
        }
    }
}

/// Returns the attributes up to the end of a tag, and what comes after it.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == '/');
        let Some(first) = rest.chars().next() else {
            return (attributes, "");
        };
        if first == '>' {
            return (attributes, &rest[1..]);
        }
        // A name may begin with `=`, hence the search behind its first letter.
        let end = rest[first.len_utf8()..]
            .find(|letter: char| letter.is_ascii_whitespace() || "=/>".contains(letter))
            .map_or(rest.len(), |end| end + first.len_utf8());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            let (raw, after) = attribute_value(after.trim_start());
            value = unescape(raw);
            rest = after;
        }
        attributes.push((name, value));
    }
}

fn attribute_value(rest: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = rest.strip_prefix(quote) {
            return quoted.split_once(quote).unwrap_or((quoted, ""));
        }
    }
    let end = rest.find(|letter: char| letter.is_ascii_whitespace() || letter == '>').unwrap_or(rest.len());
    rest.split_at(end)
}

/// Undoes character references.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        let (letter, after) = reference.unwrap_or(('&', after));
        plain.push(letter);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_browser_would_send() {
        let page = r#"<!doctype html><!-- <form method=post> --><p title="a > b">x</p>
            <form action="/search"><input name=q></form>
            <FORM method=POST action='/go?a=1&amp;b=2'>
            <input type="hidden" name="csrf" value="&#60;x&#x3e;&quot;&unknown;">
            <input id=u name=username value=ada required/>
            <input value="no name">
            <button name="decision" value="allow">Allow</button><button>Send</button>
            </FORM><form method=post><input name=other></form>"#;
        let field = |name: &str, value: &str, hidden| Field {
            name: name.to_owned(),
            value: value.to_owned(),
            hidden,
        };
        let expected = Form {
            action: "/go?a=1&b=2".to_owned(),
            fields: vec![field("csrf", "<x>\"&unknown;", true), field("username", "ada", false)],
            buttons: vec![Button { name: "decision".to_owned(), value: "allow".to_owned() }],
        };
        assert_eq!(Form::find(page), Some(expected));
    }

    #[test]
    fn half_a_page_is_no_form() {
        for page in
            ["", "<", "<form", "<form method=post", "<form method=\"post", "<form method=post><input name="]
        {
            assert_eq!(Form::find(page), None, "{page}");
        }
    }
}
