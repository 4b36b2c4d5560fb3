"""One model that answers: batches, kept features, familiar pictures. Knows no page and no names."""
