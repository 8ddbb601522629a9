"""What to do: recipes, routing, evaluation, data and the reports that come of them."""
