"""All of Hydra: overrides, validation, the job, the callback that ends a sweep, resolvers, GPU places."""
