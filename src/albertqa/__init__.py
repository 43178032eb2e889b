"""Fine-tune ALBERT on SQuAD or on your own questions, know at every step how it goes, and use what you trained.

    import albertqa

    result = albertqa.train(albertqa.Settings(model="starter", train_file=("starter:train",), ...))
    answer = albertqa.Answerer("runs/…").answer("Who …?", "The context …")

Names are imported when they are first used, so that `import albertqa` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
