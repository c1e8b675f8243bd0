"""The commands of ``mmtk capfilt``. Their modules import nothing heavy before they are called."""
