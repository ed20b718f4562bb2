//! What `--help` says, word for word.

use crate::machine::Machine;

#[test]
fn the_program_teaches_by_example() {
    let machine = Machine::new();
    insta::assert_snapshot!("help", machine.prints(&["--help"]));
}

#[test]
fn every_command_teaches_by_example() {
    let machine = Machine::new();
    for command in commands(&machine) {
        let help = machine.prints(&[&command, "--help"]);
        assert_eq!(help, machine.prints(&["help", &command]), "{command}");
        insta::assert_snapshot!(format!("help_{command}"), help);
    }
}

/// Returns the commands that the program itself lists, so that none is without a snapshot.
fn commands(machine: &Machine) -> Vec<String> {
    let help = machine.prints(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn a_command_that_is_not_there_is_a_matter_of_usage() {
    let ended = Machine::new().run(&["lgoin", "earthscope"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""));
    insta::assert_snapshot!(ended.stderr, @"
    error: unrecognized subcommand 'lgoin'

      tip: a similar subcommand exists: 'login'

    Usage: earthkey [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn completions_are_scripts_for_each_shell() {
    let machine = Machine::new();
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef earthkey"), ("fish", "complete -c earthkey")]
    {
        assert!(machine.prints(&["completions", shell]).contains(word), "{shell}");
    }
}
