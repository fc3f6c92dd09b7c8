//! Formulas as MathML. Ops state their rules in a line of text
//! (`{0} * (1 - {0})`); this reads it and sets it. What is no formula but words
//! (`sum of {0} over axis 1`) is set as words, with the symbols in it.

use super::templates::escape;

/// A part of a formula.
#[derive(Clone, PartialEq, Debug)]
enum Term {
    Number(String),
    Name(String),
    /// `{0}`, `{out}`: the place of a symbol.
    Place(String),
    Call(String, Vec<Term>),
    /// `[{1} > 0]`: 1 where it holds, else 0.
    Holds(Box<Term>),
    Parens(Box<Term>),
    Minus(Box<Term>),
    Power(Box<Term>, Box<Term>),
    Transposed(Box<Term>),
    /// The first term, then the others with the operator before each.
    Chain(Box<Term>, Vec<(char, Term)>),
    Fraction(Box<Term>, Box<Term>),
    Dots,
}

/// A formula as MathML; `symbol` gives the text of the symbol at a place.
pub(super) fn formula(text: &str, symbol: &dyn Fn(&str) -> String) -> String {
    match read(text) {
        Some(term) => set(&term, symbol),
        None => words(text, symbol),
    }
}

/// An equation as a whole `<math>` element: `left` is a symbol's text.
pub(super) fn equation(left: &str, right: &str, display: bool) -> String {
    let display = if display {
        " displaystyle=\"true\""
    } else {
        ""
    };
    let left = symbol(left);
    format!("<math{display}><mrow>{left}<mo>=</mo>{right}</mrow></math>")
}

/// Text with places in it, as words.
fn words(text: &str, symbol_at: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    let say = |out: &mut String, text: &str| {
        if !text.is_empty() {
            // Spaces at the ends of an `mtext` would be dropped.
            let text = escape(text).replace(' ', "\u{a0}");
            out.push_str(&format!("<mtext>{text}</mtext>"));
        }
    };
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        say(&mut out, before);
        out.push_str(&symbol(&symbol_at(name)));
        rest = after;
    }
    say(&mut out, rest);
    format!("<mrow>{out}</mrow>")
}

/// A symbol: `h0` and `W_fc1` with an index, `dL/dh0` as a fraction.
pub(super) fn symbol(text: &str) -> String {
    if let Some(by) = text.strip_prefix("dL/d") {
        let by = symbol(by);
        return format!(
            "<mfrac><mrow><mo>\u{2202}</mo><mi>L</mi></mrow><mrow><mo>\u{2202}</mo>{by}</mrow></mfrac>"
        );
    }
    if text.parse::<f64>().is_ok() {
        return format!("<mn>{}</mn>", escape(text));
    }
    let mut chars = text.chars();
    let first = chars.next().unwrap_or('?');
    let index = chars.as_str();
    let index = index.strip_prefix('_').unwrap_or(index);
    let plain = |c: char| c.is_alphanumeric() || c == '.';
    match index {
        "" => format!("<mi>{}</mi>", escape(text)),
        _ if first.is_alphabetic()
            && index.chars().all(plain)
            && (index.len() == text.len() - 2 || index.chars().all(|c| c.is_ascii_digit())) =>
        {
            format!(
                "<msub><mi>{}</mi><mi>{}</mi></msub>",
                escape(&first.to_string()),
                escape(index)
            )
        }
        _ => format!("<mtext>{}</mtext>", escape(text)),
    }
}

// ----- setting

fn set(term: &Term, at: &dyn Fn(&str) -> String) -> String {
    match term {
        Term::Number(text) => format!("<mn>{}</mn>", escape(&text.replace('-', "\u{2212}"))),
        Term::Name(name) => format!("<mi>{}</mi>", escape(name)),
        Term::Place(name) => symbol(&at(name)),
        Term::Dots => "<mo>\u{22ef}</mo>".to_string(),
        Term::Call(name, args) => {
            let name = if name == "sigmoid" { "\u{3c3}" } else { name };
            let args: Vec<_> = args.iter().map(|a| set(a, at)).collect();
            let args = fenced('(', &args.join("<mo>,</mo>"), ')');
            format!(
                "<mrow><mi>{}</mi><mo>\u{2061}</mo>{args}</mrow>",
                escape(name)
            )
        }
        Term::Holds(inner) => fenced('[', &set(inner, at), ']'),
        Term::Parens(inner) => fenced('(', &set(inner, at), ')'),
        Term::Minus(inner) => {
            format!(
                "<mrow><mo form=\"prefix\">\u{2212}</mo>{}</mrow>",
                set(inner, at)
            )
        }
        Term::Power(base, to) => format!("<msup>{}{}</msup>", set(base, at), set(bare(to), at)),
        Term::Transposed(base) => {
            // A fraction under an exponent needs its parentheses.
            let inner = set(base, at);
            let inner = match inner.starts_with("<mfrac>") {
                true => fenced('(', &inner, ')'),
                false => inner,
            };
            let mark = "<mi mathvariant=\"normal\">T</mi>";
            // An index and the mark stand one above the other.
            match inner
                .strip_prefix("<msub>")
                .and_then(|t| t.strip_suffix("</msub>"))
            {
                Some(parts) => format!("<msubsup>{parts}{mark}</msubsup>"),
                None => format!("<msup>{inner}{mark}</msup>"),
            }
        }
        Term::Fraction(over, under) => {
            format!(
                "<mfrac>{}{}</mfrac>",
                set(bare(over), at),
                set(bare(under), at)
            )
        }
        Term::Chain(first, rest) => {
            let mut out = set(first, at);
            for (operator, term) in rest {
                out.push_str(match operator {
                    '*' => "<mo>\u{22c5}</mo>",
                    // Matrices stand side by side.
                    '@' => "<mo lspace=\"0.17em\" rspace=\"0\">\u{2062}</mo>",
                    '-' => "<mo>\u{2212}</mo>",
                    '>' => "<mo>&gt;</mo>",
                    _ => "<mo>+</mo>",
                });
                out.push_str(&set(term, at));
            }
            format!("<mrow>{out}</mrow>")
        }
    }
}

/// A term between marks, which are as tall as a fraction inside and else as a line.
pub(super) fn fenced(open: char, inner: &str, close: char) -> String {
    let tall = if inner.contains("<mfrac>") {
        ""
    } else {
        " stretchy=\"false\""
    };
    format!("<mrow><mo{tall}>{open}</mo>{inner}<mo{tall}>{close}</mo></mrow>")
}

/// A term without its parentheses, where a line or a height does their work.
fn bare(term: &Term) -> &Term {
    match term {
        Term::Parens(inner) => inner,
        other => other,
    }
}

// ----- reading

/// The deepest nesting that is read; deeper text is set as words.
const DEPTH: usize = 40;

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

/// The formula that a text is, if it is one.
fn read(text: &str) -> Option<Term> {
    let mut reader = Reader {
        rest: text,
        depth: 0,
    };
    let term = reader.compared()?;
    reader.skip();
    reader.rest.is_empty().then_some(term)
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, what: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The first of `operators` that stands here.
    fn operator(&mut self, operators: &[char]) -> Option<char> {
        operators
            .iter()
            .copied()
            .find(|c| self.take(c.encode_utf8(&mut [0; 4])))
    }

    fn chain(
        &mut self,
        operators: &[char],
        part: impl Fn(&mut Self) -> Option<Term>,
    ) -> Option<Term> {
        let mut first = part(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.operator(operators) {
            let next = part(self)?;
            if operator == '/' {
                // What was multiplied so far is divided.
                let over = chained(first, std::mem::take(&mut rest));
                first = Term::Fraction(Box::new(over), Box::new(next));
            } else {
                rest.push((operator, next));
            }
        }
        Some(chained(first, rest))
    }

    fn compared(&mut self) -> Option<Term> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let term = self.chain(&['>'], |r| {
            r.chain(&['+', '-'], |r| r.chain(&['*', '@', '/'], Reader::signed))
        });
        self.depth -= 1;
        term
    }

    fn signed(&mut self) -> Option<Term> {
        if self.take("-") {
            let inner = self.powered()?;
            return Some(match inner {
                Term::Number(text) => Term::Number(format!("-{text}")),
                other => Term::Minus(Box::new(other)),
            });
        }
        self.powered()
    }

    fn powered(&mut self) -> Option<Term> {
        let mut term = self.atom()?;
        loop {
            if self.take("ᵀ") {
                term = Term::Transposed(Box::new(term));
            } else if self.take("^") {
                let to = self.atom()?;
                term = Term::Power(Box::new(term), Box::new(to));
            } else {
                return Some(term);
            }
        }
    }

    fn atom(&mut self) -> Option<Term> {
        if self.take("...") {
            return Some(Term::Dots);
        }
        if self.take("(") {
            let inner = self.compared()?;
            return self.take(")").then(|| Term::Parens(Box::new(inner)));
        }
        if self.take("[") {
            let inner = self.compared()?;
            return self.take("]").then(|| Term::Holds(Box::new(inner)));
        }
        if self.take("{") {
            let (name, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            return Some(Term::Place(name.to_string()));
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(Term::Number(self.number()));
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return None;
        }
        self.rest = rest;
        let name = name.to_string();
        if !self.rest.starts_with('(') {
            return Some(Term::Name(name));
        }
        self.take("(");
        let mut args = vec![self.compared()?];
        while self.take(",") {
            args.push(self.compared()?);
        }
        self.take(")").then_some(Term::Call(name, args))
    }

    /// `12`, `0.5`, `1e-12`; the sign is not part of it.
    fn number(&mut self) -> String {
        let bytes = self.rest.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1);
        }
        if bytes.get(end) == Some(&b'e') {
            let sign = usize::from(bytes.get(end + 1) == Some(&b'-'));
            let after = digits(end + 1 + sign);
            if after > end + 1 + sign {
                end = after;
            }
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number.to_string()
    }
}

fn chained(first: Term, rest: Vec<(char, Term)>) -> Term {
    match rest.is_empty() {
        true => first,
        false => Term::Chain(Box::new(first), rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops;

    fn of(text: &str) -> String {
        formula(text, &|name| match name {
            "0" => "dL/dh0".to_string(),
            "1" => "W_fc1".to_string(),
            _ => "h0".to_string(),
        })
    }

    #[test]
    fn formulas_are_set() {
        assert_eq!(
            of("2 - x"),
            "<mrow><mn>2</mn><mo>\u{2212}</mo><mi>x</mi></mrow>"
        );
        assert_eq!(
            of("({out} - 1) / (2 * x)"),
            "<mfrac><mrow><msub><mi>h</mi><mi>0</mi></msub><mo>\u{2212}</mo><mn>1</mn></mrow>\
             <mrow><mn>2</mn><mo>\u{22c5}</mo><mi>x</mi></mrow></mfrac>"
        );
        assert!(of("{0}ᵀ @ {1}").contains("<mo>(</mo><mfrac>"));
        assert!(of("{1}ᵀ").starts_with("<msubsup><mi>W</mi><mi>fc1</mi>"));
        assert!(of("{1}").contains("<mi>W</mi><mi>fc1</mi>"));
        assert!(of("(-2)*1e-12").contains("<mn>\u{2212}2</mn><mo stretchy=\"false\">)</mo>"));
        assert!(of("x^2").starts_with("<msup>"));
    }

    #[test]
    fn the_order_of_operations_is_kept() {
        let number = |t: &str| Box::new(Term::Number(t.to_string()));
        // 1 * 2 / 3 * 4: the fraction is of the product before it.
        assert_eq!(
            read("1 * 2 / 3 * 4"),
            Some(Term::Chain(
                Box::new(Term::Fraction(
                    Box::new(Term::Chain(number("1"), vec![('*', *number("2"))])),
                    number("3")
                )),
                vec![('*', *number("4"))]
            ))
        );
        assert_eq!(
            read("-2^2"),
            Some(Term::Minus(Box::new(Term::Power(number("2"), number("2")))))
        );
    }

    #[test]
    fn words_are_words_and_nothing_from_outside_is_markup() {
        let text = of("sum of {1} over axis 1");
        assert!(
            text.contains("<mtext>sum\u{a0}of\u{a0}</mtext><msub>"),
            "{text}"
        );
        let hostile = formula("{0}", &|_| "<script>\"&".to_string());
        assert_eq!(hostile, "<mtext>&lt;script&gt;&quot;&amp;</mtext>");
        assert!(!of("<b> {0} {").contains("<b>"));
        assert!(of(&"(".repeat(100_000)).contains("mtext"));
    }

    /// Every rule of every op is either read as a formula or plainly words.
    #[test]
    fn the_rules_of_all_ops_are_read() {
        let mut formulas = 0;
        for family in ops::ALL {
            for sample in (family.samples)() {
                let mut g = Graph::new();
                let shapes = sample.shapes.iter().enumerate();
                let inputs: Vec<_> = shapes
                    .map(|(i, s)| g.input(&format!("x{i}"), s).unwrap())
                    .collect();
                let id = (sample.build)(&mut g, &inputs).unwrap();
                let Some(op) = g.node(id).unwrap().op() else {
                    continue;
                };
                let rule = op.explain();
                for text in rule.derivatives.iter().chain([&rule.formula]) {
                    let word = |w: &str| text.contains(w);
                    let in_words = [" of ", " as ", " to ", " where ", "no rule"]
                        .iter()
                        .any(|w| word(w));
                    assert_eq!(read(text).is_none(), in_words, "{op}: {text}");
                    formulas += usize::from(!in_words);
                }
            }
        }
        assert!(formulas > 100, "{formulas}");
    }
}
