"""What is published on the Hugging Face Hub, and the command that publishes it."""
