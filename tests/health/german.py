"""A text in German, for validation data in another language than the training data's. Original, CC0."""

TEXT = """
Am Morgen lag der Nebel noch über dem Fluss, als die ersten Händler ihre Stände auf dem Marktplatz aufbauten. Die
Fischer kamen mit ihren Booten den Kanal herauf und brachten Hecht und Zander, die sie in der Nacht gefangen hatten.
Nach dem alten Stadtrecht durfte niemand vor dem Läuten der Glocke etwas verkaufen, und wer es dennoch tat, der musste
der Zunft eine Strafe zahlen. Der Bürgermeister selbst ging jeden Samstag durch die Reihen und prüfte die Gewichte der
Bäcker, denn es war schon vorgekommen, dass ein Laib Brot leichter war, als er sein sollte. Im Jahr nach dem großen
Brand wurde das Rathaus aus Stein neu errichtet; die Pläne dafür hatte ein Baumeister aus dem Süden gezeichnet, der
später auch die Brücke über den Fluss entwarf. Seine Tochter schrieb in ihr Tagebuch, dass er oft bis spät in die
Nacht bei einer Kerze saß und rechnete, weil das Wasser im Frühling höher stieg, als man ihm gesagt hatte. Als die
Brücke endlich fertig war, feierte die ganze Stadt drei Tage lang, und die Kinder bekamen Kuchen mit Honig und Nüssen.
Heute fahren Lastwagen auf einer anderen Straße um die Stadt herum, aber die alte Brücke steht noch, und an warmen
Abenden sitzen die Leute auf ihrer Mauer und sehen den Schwalben zu, die über dem Wasser nach Mücken jagen. Im Museum
neben der Kirche kann man das Modell sehen, das der Baumeister aus Lindenholz geschnitzt hat, und daneben liegt ein
Brief, in dem er um mehr Geld bittet, damit die Pfeiler tiefer gegründet werden können.
"""
