"""The command easynet; it only composes."""
