from circuitbook.published import published_copying_scores


def test_the_published_copying_scores_are_of_twelve_layers_of_twelve_heads_and_name_their_source():
    table = published_copying_scores()
    assert [len(layer) for layer in table.value] == [12] * 12
    assert all(-1 <= score <= 1 for layer in table.value for score in layer)
    assert "TransformerLens" in table.source and "eigenvalues" in table.definition
