"""Products, the pipeline, opportunities, activities and orders."""
