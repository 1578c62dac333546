"""Jobs: pictures changed by DeepDream and style transfer, which takes seconds to minutes."""
