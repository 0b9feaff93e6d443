"""What a person does with a trained model: load it, embed, predict, score variants, see what it reads, hand it on."""
