//! The canonical text form of a graph: one line a node, the same for the same
//! graph. Snapshots, error reports and `--verbose` print it.

use std::fmt;

use super::{Graph, Kind, Role};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes() {
            let mark = match node.role {
                Role::Forward => ' ',
                Role::Backward => '~',
            };
            write!(f, "{mark}{id} = ")?;
            match &node.kind {
                Kind::Input => write!(f, "input")?,
                Kind::Parameter => write!(f, "parameter")?,
                Kind::Constant(_) => write!(f, "constant")?,
                Kind::Op(op) => {
                    write!(f, "{op}(")?;
                    for (i, input) in node.inputs.iter().enumerate() {
                        let comma = if i == 0 { "" } else { ", " };
                        write!(f, "{comma}{input}")?;
                    }
                    write!(f, ")")?;
                }
            }
            writeln!(f, " : {}  \"{}\"", node.shape, node.label)?;
        }
        Ok(())
    }
}
