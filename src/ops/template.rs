//! WGSL has no loops that surely unroll and no conditional text, so a kernel
//! may be a template: WGSL with markers in comment lines.
//!
//! ```text
//! //: repeat i in COUNT     the lines up to `end`, once for each i below COUNT
//! //: if NAME               the lines up to `else` or `end`, if NAME is not 0
//! //: else
//! //: end
//! ```
//!
//! `{i}` and `{NAME}` in the lines stand for the numbers. COUNT is a name or a
//! number.

/// A template's text with its markers carried out.
///
/// # Errors
/// A marker that is not understood, or one without its `end`.
pub fn expand(text: &str, settings: &[(&str, u32)]) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut names: Vec<(String, u32)> = settings
        .iter()
        .map(|&(name, value)| (name.to_string(), value))
        .collect();
    let mut out = String::with_capacity(text.len());
    block(&lines, &mut names, &mut out)?;
    Ok(out)
}

/// A marker line, taken apart.
enum Marker<'a> {
    Repeat { name: &'a str, count: &'a str },
    If(&'a str),
    Else,
    End,
}

fn marker(line: &str) -> Result<Option<Marker<'_>>, String> {
    let Some(words) = line.trim_start().strip_prefix("//:") else {
        return Ok(None);
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    match words[..] {
        ["repeat", name, "in", count] => Ok(Some(Marker::Repeat { name, count })),
        ["if", name] => Ok(Some(Marker::If(name))),
        ["else"] => Ok(Some(Marker::Else)),
        ["end"] => Ok(Some(Marker::End)),
        _ => Err(format!("`{}` is no marker of a template", line.trim())),
    }
}

fn number(names: &[(String, u32)], word: &str) -> Result<u32, String> {
    // The innermost of two equal names counts.
    let known = names.iter().rev().find(|(name, _)| name == word);
    match known {
        Some((_, value)) => Ok(*value),
        None => word
            .parse()
            .map_err(|_| format!("a template has no setting `{word}`")),
    }
}

fn block(lines: &[&str], names: &mut Vec<(String, u32)>, out: &mut String) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        match marker(line)? {
            None => {
                out.push_str(&filled(line, names));
                out.push('\n');
                at += 1;
            }
            Some(Marker::Repeat { name, count }) => {
                let (body, other, next) = body(lines, at)?;
                if other.is_some() {
                    return Err(format!("`{}` has an `else`", line.trim()));
                }
                for i in 0..number(names, count)? {
                    names.push((name.to_string(), i));
                    block(body, names, out)?;
                    names.pop();
                }
                at = next;
            }
            Some(Marker::If(name)) => {
                let (yes, no, next) = body(lines, at)?;
                if number(names, name)? != 0 {
                    block(yes, names, out)?;
                } else {
                    block(no.unwrap_or(&[]), names, out)?;
                }
                at = next;
            }
            Some(Marker::Else | Marker::End) => {
                return Err(format!("`{}` closes nothing", line.trim()));
            }
        }
    }
    Ok(())
}

/// What a marker opens: its lines, those after `else`, and the first line after
/// its `end`.
type Body<'l, 't> = (&'l [&'t str], Option<&'l [&'t str]>, usize);

fn body<'l, 't>(lines: &'l [&'t str], open: usize) -> Result<Body<'l, 't>, String> {
    let mut level = 0;
    let mut middle = None;
    for (i, line) in lines.iter().enumerate().skip(open) {
        match marker(line)? {
            Some(Marker::Repeat { .. } | Marker::If(_)) => level += 1,
            Some(Marker::Else) if level == 1 => middle = Some(i),
            Some(Marker::End) => level -= 1,
            _ => {}
        }
        if level == 0 {
            let first = &lines[open + 1..middle.unwrap_or(i)];
            return Ok((first, middle.map(|m| &lines[m + 1..i]), i + 1));
        }
    }
    Err(format!("`{}` has no `end`", lines[open].trim()))
}

fn filled(line: &str, names: &[(String, u32)]) -> String {
    let mut text = line.to_string();
    for (name, value) in names.iter().rev() {
        if text.contains('{') {
            text = text.replace(&format!("{{{name}}}"), &value.to_string());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_carried_out() {
        let text = "a {N}\n//: repeat i in N\n  //: repeat k in 2\nx{i}{k}\n  //: end\n//: end\n\
                    //: if NO\nno\n//: else\nyes {i}\n//: end\nfn f() { }";
        let got = expand(text, &[("N", 2), ("NO", 0)]).unwrap();
        assert_eq!(got, "a 2\nx00\nx01\nx10\nx11\nyes {i}\nfn f() { }\n");
    }

    #[test]
    fn broken_markers_are_errors() {
        for (text, part) in [
            ("//: repeat i in 2\nx", "has no `end`"),
            ("//: end", "closes nothing"),
            ("//: else", "closes nothing"),
            ("//: repeat i in N\n//: end", "no setting `N`"),
            ("//: if N\n//: end", "no setting `N`"),
            ("//: loop", "no marker"),
            ("//: repeat i in 1\n//: else\n//: end", "has an `else`"),
        ] {
            let error = expand(text, &[]).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
