from magicgui.widgets import Container


class CompareWidget(Container): ...
