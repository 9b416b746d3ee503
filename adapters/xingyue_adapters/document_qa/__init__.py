"""Document QA: data sets, the fit of the small evidence models, evaluation."""
