"""Two to four selections side by side: whom each has, how alike they are, what each covers."""
