"""The use of trained runs: `powmix.load`, `powmix-predict`, `powmix-export`."""
