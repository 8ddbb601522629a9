"""Small vision-language models trained from scratch on generated scenes (`workers.scenes`)."""
