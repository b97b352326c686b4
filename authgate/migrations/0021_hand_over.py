from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('authgate', '0020_route_shaping'),
    ]

    operations = [
        migrations.CreateModel(
            name='HandOver',
            fields=[
                ('digest', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('sid', models.CharField(max_length=64)),
                ('departure', models.CharField(max_length=64)),
                ('expires_at', models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.AddField(
            model_name='identityprovider',
            name='callbacks',
            field=models.CharField(choices=[('public', 'one, of the public URL; sign-in on any other host goes by way of it'), ('each', 'one for each host, on which sign-in then stays')], db_default='each', default='public', max_length=10, verbose_name='redirect URIs'),
        ),
    ]
