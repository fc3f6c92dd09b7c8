//! `wgrad completions` and `wgrad man`: what shells and `man` are told of the
//! command line, made from the definition that the program itself reads.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use wgrad::{Error, Result, io};

use super::{Cli, Outcome, output};

/// For which shell.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Args)]
pub struct ManArgs {
    /// Write wgrad.1 and a page for each subcommand into this folder, which is made
    /// if need be; without it, the main page goes to stdout
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs, as_json: bool) -> Result<Outcome> {
    no_json(as_json, "completions are a script of the shell's")?;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wgrad", &mut script);
    output::document(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Good)
}

pub fn man(args: &ManArgs, as_json: bool) -> Result<Outcome> {
    no_json(as_json, "a man page is roff")?;
    // `wgrad help X` is `wgrad X --help`: no page of its own.
    let mut main = Cli::command().disable_help_subcommand(true);
    // Gives each subcommand the options that all have.
    main.build();
    let Some(folder) = &args.output else {
        output::document(&page(&main)?)?;
        return Ok(Outcome::Good);
    };
    std::fs::create_dir_all(folder).map_err(|e| {
        Error::file(
            folder,
            format!("{e}; name a folder that is there or can be made"),
        )
    })?;
    for command in std::iter::once(&main).chain(main.get_subcommands()) {
        let path = folder.join(Man::new(command.clone()).get_filename());
        io::write(&path, page(command)?.as_bytes())?;
        output::data(&format!("{}\n", path.display()))?;
    }
    Ok(Outcome::Good)
}

fn no_json(as_json: bool, what: &str) -> Result<()> {
    match as_json {
        true => Err(Error::Text(format!("{what}, not JSON; leave --json out"))),
        false => Ok(()),
    }
}

/// A command's page.
fn page(command: &Command) -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        .source(format!("wgrad {version}"))
        .manual("wgrad");
    let mut out = Vec::new();
    let written = (|| {
        man.render_title(&mut out)?;
        man.render_name_section(&mut out)?;
        man.render_synopsis_section(&mut out)?;
        man.render_description_section(&mut out)?;
        man.render_options_section(&mut out)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut out)?;
        }
        let help = command.get_after_help().map(ToString::to_string);
        lists(&help.unwrap_or_default()).to_writer(&mut out)
    })();
    // A Vec takes every write.
    written.map_err(|e| Error::file(Path::new("man page"), e.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The lists below the help, each a section: `Title:`, then lines of a word and what
/// it means, two spaces or more between.
fn lists(help: &str) -> Roff {
    let mut roff = Roff::default();
    for line in help.lines() {
        let meaning = line.trim_start().split_once("  ");
        match (line.strip_suffix(':'), meaning) {
            (Some(title), None) => {
                roff.control("SH", [title.to_uppercase().as_str()]);
            }
            (_, Some((word, text))) => {
                roff.control("TP", []);
                roff.text([bold(word)]);
                roff.text([roman(text.trim())]);
            }
            _ => {}
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_lists_below_the_help_are_sections() {
        let text = lists(super::super::EXIT_CODES).to_roff();
        for wanted in [
            ".SH \"EXIT CODES\"",
            "\\fB3\\fR\nno adapter",
            ".SH ENVIRONMENT",
            "NO_COLOR",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}
