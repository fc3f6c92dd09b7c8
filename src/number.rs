//! How numbers are written for people: float32 values in the fewest digits
//! that read back as the same float32. And how text from a file is shown.

use std::borrow::Cow;

/// A float32 in the fewest digits that give it back; powers of ten where the
/// plain form would be long.
pub fn show(value: f32) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e9).contains(&size) || !value.is_finite() {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

/// A float64 in ten significant digits, trailing zeros left out.
pub fn show_wide(value: f64) -> String {
    const DIGITS: i32 = 10;
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let trim = |text: String| match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        None => text,
    };
    if (1e-4..1e9).contains(&size) {
        let decimals = (DIGITS - 1 - size.log10().floor() as i32).max(0) as usize;
        return trim(format!("{value:.decimals$}"));
    }
    let text = format!("{value:.*e}", DIGITS as usize - 1);
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trim(mantissa.to_string())),
        None => text,
    }
}

/// A number of bytes, and what that is in larger units.
pub fn bytes(count: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => {
            let large = count as f64 / *unit as f64;
            format!("{count} bytes ({large:.1} {name})")
        }
        None => format!("{count} bytes"),
    }
}

/// A share in percent, in two digits: `0.043%`.
pub fn share(value: f64) -> String {
    let percent = 100.0 * value;
    if percent == 0.0 || !percent.is_finite() {
        return match percent.is_finite() {
            true => "0%".to_string(),
            false => format!("{percent}"),
        };
    }
    let decimals = (1.0 - percent.abs().log10().floor()).clamp(0.0, 12.0);
    format!("{percent:.*}%", decimals as usize)
}

/// A factor inside a product: as [`show`], negative values in parentheses.
pub fn show_factor(value: f32) -> String {
    if value.is_sign_negative() {
        format!("({})", show(value))
    } else {
        show(value)
    }
}

/// A sum of terms in one line, the middle left out when there are many.
pub fn show_sum(mut terms: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 8;
    let count = terms.len();
    if count == 0 {
        return "0 (nothing to add)".to_string();
    }
    if count <= MOST {
        return terms.collect::<Vec<_>>().join(" + ");
    }
    let first: Vec<_> = terms.by_ref().take(MOST / 2).collect();
    // `count > MOST` terms, so there is a last one.
    let last = terms.last().unwrap_or_default();
    format!("{} + ... + {last} ({count} terms)", first.join(" + "))
}

/// `formula` with `{0}`, `{1}`, ... replaced by `operands`.
pub fn fill(formula: &str, operands: &[String]) -> String {
    let mut text = formula.to_string();
    for (i, operand) in operands.iter().enumerate() {
        text = text.replace(&format!("{{{i}}}"), operand);
    }
    text
}

/// Text with its control characters, which a terminal would obey, escaped.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Text from a file as a person may see it: [`escaped`], and of a long one the
/// middle left out.
pub fn printable(text: &str) -> Cow<'_, str> {
    const MOST: usize = 2000;
    if text.chars().nth(MOST).is_none() {
        return escaped(text);
    }
    // More than `MOST` characters, so both places are there.
    let place = |at: Option<(usize, char)>| at.map_or(text.len(), |(at, _)| at);
    let start = place(text.char_indices().nth(MOST / 2));
    let end = place(text.char_indices().rev().nth(MOST / 2));
    Cow::Owned(format!(
        "{}...{}",
        escaped(&text[..start]),
        escaped(&text[end..])
    ))
}

/// The distance between two float32 values in units in the last place: how
/// many float32 values one must step over to come from one to the other. NaN
/// is at distance 0 from NaN and infinitely far from all else.
pub fn ulps_between(a: f32, b: f32) -> u64 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() {
            0
        } else {
            u64::MAX
        };
    }
    // Maps the bits so that the integers are ordered as the floats are.
    let place = |v: f32| {
        let bits = v.to_bits();
        if bits >> 31 == 0 {
            i64::from(bits)
        } else {
            -i64::from(bits & 0x7fff_ffff)
        }
    };
    place(a).abs_diff(place(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_two_digits() {
        let all = [0.0, 4.3e-4, 0.123, 1.5, 1.234e-9, f64::INFINITY, f64::NAN];
        let texts = ["0%", "0.043%", "12%", "150%", "0.00000012%", "inf", "NaN"];
        assert_eq!(all.map(share), texts);
    }

    #[test]
    fn numbers_read_back() {
        for v in [0.1, -1.756_890_8, 1e-30, 3.0e20, 123_456.0, 0.0] {
            assert_eq!(show(v).parse::<f32>().unwrap(), v);
        }
        assert_eq!(show(1e-30), "1e-30");
        assert_eq!(show_factor(-2.0), "(-2)");
        assert_eq!(show_wide(0.164_630_138_988_777_65), "0.164630139");
        assert_eq!(show_wide(-1.5e-20), "-1.5e-20");
        assert_eq!(show_wide(2.0), "2");
    }

    #[test]
    fn bytes_in_units() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(3 << 19), "1572864 bytes (1.5 MiB)");
        assert_eq!(bytes(5 << 30), "5368709120 bytes (5.0 GiB)");
    }

    #[test]
    fn ulps_count_steps() {
        assert_eq!(ulps_between(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(ulps_between(0.0, -0.0), 0);
        assert_eq!(ulps_between(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(ulps_between(f32::NAN, 1.0), u64::MAX);
        assert_eq!(ulps_between(f32::MAX, f32::INFINITY), 1);
    }

    #[test]
    fn text_from_a_file_commands_no_terminal() {
        assert_eq!(printable("0.weight \u{e9}"), "0.weight \u{e9}");
        assert_eq!(
            printable("a\u{1b}[31mb\n\u{9b}c"),
            "a\\u{1b}[31mb\\n\\u{9b}c"
        );
        let long = printable(&format!("{}\u{7}", "\u{e9}".repeat(1 << 20))).into_owned();
        assert!(long.chars().count() < 2100 && long.ends_with("\\u{7}"));
    }

    #[test]
    fn long_sums_are_shortened() {
        let text = show_sum((0..100).map(|i| i.to_string()));
        assert_eq!(text, "0 + 1 + 2 + 3 + ... + 99 (100 terms)");
    }
}
